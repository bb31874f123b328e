"""Single updates: one pass against the alternating reference, a GPU against a CPU, the signals, the doubling."""

import pytest
import torch
from torch.nn import functional as F

from ragdist.config.run import ObjectiveOptions
from ragdist.networks import resnet
from ragdist.training.batch import Batch
from ragdist.training.update import Update
from ragdist.training.worker_signals import SignalReader, WorkerSignals
from tests.test_update import B, a_batch, error, gradients, networks, shape_of

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
OPTIONS = ObjectiveOptions(lam=2.0, group=8, r1=0.3, r2=0.7)
# Convolutions of a GPU in float32 add up in blocks, and may transform their inputs first.
ROUNDING = {"cpu": 1e-5, "cuda": 1e-4}


def found(device: torch.device, family: str, phases, precision: str = "fp32", penalty: bool = True) -> tuple:
    """Gradients and statistics of equal networks and a batch, on this device; the gradients on the CPU."""
    pair = (network.to(device) for network in networks(family, True))
    update = Update(*pair, OPTIONS, batch_size=B, precision=precision).to(device)
    batch = Batch(*(part.to(device) for part in a_batch(True, shape_of(family))))
    kept, statistics = gradients(update, batch, phases, OPTIONS.lam, penalty)
    return {name: value.cpu() for name, value in kept.items()}, statistics


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("family", ["dcgan", "resnet", "mlp", "spectral", "wavegan"])
def test_one_pass_equals_alternating(device, family, penalty):
    one, s1 = found(device, family, ("both",), penalty=penalty)
    two, s2 = found(device, family, ("d", "g"), penalty=penalty)
    for name in one:
        assert two[name].norm() > 1e-6
        assert error(one[name], two[name]) < ROUNDING[device.type], name
    assert s1 == pytest.approx(s2, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("family", ["dcgan", "resnet", "spectral", "wavegan"])
def test_one_pass_loses_no_more_to_bfloat16_than_two_do(device, family):
    errors = []
    for phases in (("both",), ("d", "g")):
        exact, rounded = (found(device, family, phases, precision)[0] for precision in ("fp32", "bf16"))
        errors.append({name: error(rounded[name], exact[name]) for name in exact})
    for name, one in errors[0].items():
        assert 0 < one < 0.1
        assert one < 1.2 * errors[1][name]


@pytest.mark.parametrize("family", ["dcgan", "resnet", "mlp", "spectral", "wavegan"])
def test_gradients_are_those_of_a_cpu(device, family):
    mine, s1 = found(device, family, ("both",))
    expected, s2 = found(CPU, family, ("both",))
    for name in mine:
        assert error(mine[name], expected[name]) < ROUNDING["cuda"], name
    assert s1 == pytest.approx(s2, rel=1e-4, abs=1e-5)


def test_signals_come_with_the_next_update_on_a_gpu_and_none_is_lost(device):
    """Each is heard once, in order, and a checkpoint gets the last one at once."""
    ear, late = SignalReader(device), device.type == "cuda"
    heard = [
        ear.read(
            torch.tensor(WorkerSignals(bad_samples=n), dtype=torch.float32, device=device),
            torch.tensor(n, device=device),
        )
        for n in (1.0, 2.0, 3.0)
    ]
    assert [each.signals.bad_samples for each in heard] == ([0, 1, 2] if late else [1, 2, 3])
    assert [each.skipped for each in heard] == ([0, 1, 2] if late else [1, 2, 3])
    flushed = ear.flush()
    assert (flushed.signals.bad_samples, flushed.skipped) == (3, 3)
    assert ear.flush().signals == WorkerSignals()


def test_signals_are_not_waited_for(device):
    """What a GPU is busy with goes on while the host has its answer, and prepares the next update."""
    if device.type != "cuda":
        pytest.skip("a CPU has done its work when it returns")
    ear = SignalReader(device)
    signals, skipped = torch.zeros(len(WorkerSignals._fields), device=device), torch.zeros((), device=device)
    ear.read(signals, skipped)  # its first pinned memory is allocated
    ear.flush()
    torch.cuda._sleep(2_000_000_000)  # clock cycles: about a second
    ear.read(signals, skipped)
    assert not torch.cuda.current_stream().query()
    torch.cuda.synchronize()


@pytest.mark.parametrize("size", [1, 2, 4, 9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_deterministic_doubling_is_pytorchs(device, size, layout):
    """Values and gradients, and the same bits each time."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 32, size, size + 1, generator=draw).to(device).contiguous(memory_format=layout)
    weights = torch.randn(4, 32, 2 * size, 2 * size + 2, generator=draw).to(device)

    def doubled(function):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        return y.detach(), *torch.autograd.grad((y * weights).sum(), leaf)

    mine, again = (doubled(resnet.Doubled.apply) for _ in range(2))
    theirs = doubled(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
    assert all(map(torch.equal, mine, again))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_generator_takes_the_deterministic_doubling_on_a_gpu_alone(device):
    y = resnet._double(torch.randn(1, 1, 4, 4, device=device, requires_grad=True))
    assert (type(y.grad_fn).__name__ == "DoubledBackward") == (device.type == "cuda")
