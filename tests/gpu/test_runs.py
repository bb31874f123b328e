"""Runs: the same bits twice and after a restart, a CPU's weights but for rounding, one line where memory runs out."""

from pathlib import Path

import pytest
import torch

from ragdist.config import Config, settings
from ragdist.data import index as index_file
from ragdist.distributed.world import World, pick_device
from ragdist.runs.folder import RunFolder
from ragdist.tools.errors import UserError
from ragdist.training.monitor import Monitor
from ragdist.training.trainer import Trainer
from tests.test_run import equal

pytestmark = pytest.mark.gpu
SMALL = ["--network.g_width=16", "--network.d_width=16", "--network.max_width=64", "--network.labels=true",
         "--batch_size=32", "--objective.group=16", "--objective.penalty_every=2", "--data.loader_workers=1",
         "--monitor.tensorboard=false", "--monitor.grid_every=1000000", "--checkpoint.every=160"]  # fmt: skip


def config_of(data: Path, out: Path, *more: str) -> Config:
    return settings.parse([*SMALL, f"--data={data}", f"--out={out}", *more], "test")[0]


def prepared(config: Config, device: torch.device) -> tuple[Trainer, Monitor]:
    device = pick_device(str(device), **config.kernels)
    folder = RunFolder(config.out)
    for path in (folder.checkpoints, folder.samples):
        path.mkdir(parents=True, exist_ok=True)
    index = index_file.load(config.data.path)
    trainer = Trainer(config, World(0, 1, device), index, folder)
    return trainer, Monitor(config, folder, index, trainer.seen)


def train(config: Config, device: torch.device) -> dict:
    """A run to its end; its state, on the CPU."""
    trainer, monitor = prepared(config, device)
    outcome = trainer.train(monitor)
    monitor.close()
    assert outcome.finished
    newest = sorted(trainer.folder.checkpoints.iterdir())[-1]
    return torch.load(newest / "state.pt", map_location="cpu", weights_only=True)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("family", ["dcgan", "resnet", "mlp"])
def test_the_same_bits_twice_and_after_a_restart(device, digits, tmp_path, family, precision):
    options = [f"--network.family={family}", f"--precision={precision}"]
    whole = train(config_of(digits, tmp_path / "a", *options, "--samples=640"), device)
    assert equal(train(config_of(digits, tmp_path / "b", *options, "--samples=640"), device), whole)
    train(config_of(digits, tmp_path / "c", *options, "--samples=320"), device)
    assert equal(train(config_of(digits, tmp_path / "c", *options, "--samples=640"), device), whole)


@pytest.mark.parametrize("family", ["dcgan", "resnet"])
def test_a_run_is_that_of_a_cpu_but_for_rounding(device, digits, tmp_path, family):
    """Rates are small at first: Adam divides each gradient by its own size, even one that is nothing but rounding."""
    options = [f"--network.family={family}", "--samples=192", "--optim.warmup_samples=100000"]
    mine = train(config_of(digits, tmp_path / "a", *options), device)
    other = train(config_of(digits, tmp_path / "b", *options), torch.device("cpu"))
    for name in ("generator", "discriminator", "ema"):
        a, b = (torch.cat([w.flatten() for w in state[name].values()]) for state in (mine, other))
        assert (a - b).norm() < 1e-4 * b.norm(), name


def test_too_little_memory_is_one_line(device, digits, tmp_path):
    if device.type != "cuda":
        pytest.skip("a CPU's lack of memory ends the process")
    wide = ["--network.family=resnet", "--network.g_width=128", "--network.d_width=128", "--network.max_width=128",
            "--batch_size=1024"]  # fmt: skip
    trainer, monitor = prepared(config_of(digits, tmp_path / "run", *wide), device)
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + 64 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(device).total_memory)
    try:
        with pytest.raises(UserError, match=r"^the memory of cuda:\d ran out: try --optim.micro_batch, ") as caught:
            trainer.train(monitor)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        monitor.close()
    assert "\n" not in str(caught.value)
