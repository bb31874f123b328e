"""The one-pass update leaves the gradients that the alternating reference has at equal weights."""

import itertools
from dataclasses import replace

import pytest
import torch

from ragdist.config.run import NetworkOptions, ObjectiveOptions
from ragdist.networks import stft
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.objective import ADVERSARIAL
from ragdist.objective.relative import flatten
from ragdist.training.batch import Batch
from ragdist.training.update import STATISTICS, Update
from tests import test_stft
from tests.test_networks import SHAPES

B = 16


def shape_of(family: str) -> tuple[int, ...]:
    """Of the smallest samples that suit a family here: clips of two channels, or pictures."""
    return (2, 512) if family in SHAPES else (1, 8, 8)


def networks(family: str, labels: bool, shape: tuple[int, ...] | None = None):
    shape = shape or shape_of(family)
    options = vars(NetworkOptions(family=family, z_dim=8, g_width=16, d_width=16, max_width=32, group_width=8))
    classes = 3 if labels else 0
    generator, discriminator = build_generator(options, shape, classes), build_discriminator(options, shape, classes)
    generate = torch.Generator().manual_seed(1)
    with torch.no_grad():  # the zero-initialized layers would hide mistakes behind them
        for p in itertools.chain(generator.parameters(), discriminator.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=generate))
    return generator, discriminator


def a_batch(labels: bool, shape=(1, 8, 8), b: int = B) -> Batch:
    generate = torch.Generator().manual_seed(2)
    z = torch.randn(b, 8, generator=generate)
    real = torch.rand(b, *shape, generator=generate) * 2 - 1
    shares = torch.rand(b, generator=generate)
    return Batch(z, real, torch.arange(b) % 3 if labels else None, shares)


def gradients(update, batch: Batch, phases, lam: float, penalty: bool, micro: int = B):
    """Gradients of G and D after these phases, without a step between them, and the statistics."""
    update.zero_grad(set_to_none=True)
    kept, sums = {}, torch.zeros(len(STATISTICS))
    for phase in phases:
        update.zero_grad(set_to_none=True)
        for part in batch.split(micro):
            loss, statistics = update(part, phase, lam, penalty)
            loss.backward()
            sums += statistics.cpu()
        module = getattr(update, "module", update)
        for name, players in (("generator", "both g"), ("discriminator", "both d")):
            network = getattr(module, name)
            if phase in players.split():
                kept[name] = torch.cat([p.grad.flatten() for p in network.parameters()])
            else:
                assert all(p.grad is None for p in network.parameters()), f"{name} has gradients in phase {phase}"
    return kept, dict(zip(STATISTICS, sums.tolist(), strict=True))


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("adversarial", ADVERSARIAL)
@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize(("family", "labels", "space"), [
    ("dcgan", False, "pixel"),
    ("dcgan", True, "feature"),
    ("resnet", True, "pixel"),
    ("resnet", False, "feature"),
    ("mlp", True, "feature"),
    ("spectral", True, "points"),
    ("spectral", False, "feature"),
    ("wavegan", False, "points"),
    ("wavegan", True, "feature"),
    ("resnet1d", False, "feature"),
])  # fmt: skip
def test_one_pass_equals_alternating(adversarial, penalty, family, labels, space):
    shape = shape_of(family)
    update = Update(
        *networks(family, labels),
        ObjectiveOptions(adversarial=adversarial, lam=2.0, space=space, pool=8, group=8, r1=0.3, r2=0.7, gp=0.5),
        batch_size=B,
        points=stft.points if family in SHAPES else flatten,
    )
    batch = a_batch(labels, shape)
    one, s1 = gradients(update, batch, ("both",), 2.0, penalty)
    two, s2 = gradients(update, batch, ("d", "g"), 2.0, penalty)
    assert two["generator"].norm() > 1e-6
    assert error(one["discriminator"], two["discriminator"]) < 1e-5
    assert error(one["generator"], two["generator"]) < 1e-5
    assert s1 == pytest.approx(s2, rel=1e-4, abs=1e-6)


def losses(generator, discriminator, batch: Batch, options: ObjectiveOptions):
    """L_D with penalties on every fourth update, and L_G, as written: nothing of the update's machinery is in them."""
    game = ADVERSARIAL[options.adversarial]

    def d_loss():
        real, fake = batch.real.requires_grad_(), generator(batch.z).double().detach().requires_grad_()
        r, f = discriminator(real), discriminator(fake)
        g1, g2 = torch.autograd.grad(r.sum() + f.sum(), [real, fake], create_graph=True)
        share = batch.shares.view(-1, *[1] * (real.dim() - 1))
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        (g3,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
        n1, n2, n3 = (g.square().flatten(1).sum(1) for g in (g1, g2, g3))
        penalty = (options.r1 * n1 + options.r2 * n2) / 2 + options.gp * (n3.sqrt() - 1).square()
        return (game.d_loss(r, f) + 4 * penalty).mean()

    def g_loss():
        return game.g_loss(discriminator(batch.real), discriminator(generator(batch.z).double())).mean()

    return (discriminator, d_loss, "discriminator"), (generator, g_loss, "generator")


PENALIZED = ObjectiveOptions(lam=0.0, r1=0.3, r2=0.7, penalty_every=4)


@pytest.mark.parametrize("options", [{}, {"adversarial": "wasserstein", "gp": 10.0, "r1": 0.0, "r2": 0.0}, {"gp": 1.0}])
def test_gradients_equal_finite_differences_of_the_formula(options):
    generator, discriminator = (network.double() for network in networks("mlp", False))
    batch = a_batch(False)
    batch = Batch(batch.z.double(), batch.real.double(), None, batch.shares.double())
    update = Update(generator, discriminator, replace(PENALIZED, **options), batch_size=B)
    kept, _ = gradients(update, batch, ("both",), 0.0, True)
    for network, loss, name in losses(generator, discriminator, batch, update.options):
        vector = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
        direction = torch.randn(vector.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        values = []
        for step in (1e-4, -1e-4):
            torch.nn.utils.vector_to_parameters(vector + step * direction, network.parameters())
            values.append(loss().item())
        torch.nn.utils.vector_to_parameters(vector, network.parameters())
        assert (kept[name] @ direction).item() == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-3)


@pytest.mark.parametrize("family", SHAPES)
def test_gradients_of_clips_are_those_that_pytorch_finds_in_the_formula(family, monkeypatch):
    """By its own second derivatives of convolutions and Fourier transforms, in float64."""
    generator, discriminator = (network.double() for network in networks(family, False))
    batch = a_batch(False, shape_of(family))
    batch = Batch(batch.z.double(), batch.real.double(), None, batch.shares.double())
    options = replace(PENALIZED, gp=1.0)
    update = Update(generator, discriminator, options, batch_size=B)
    kept, _ = gradients(update, batch, ("both",), 0.0, True)
    monkeypatch.setattr(stft, "transform", test_stft.reference)
    for network, loss, name in losses(generator, discriminator, batch, options):
        expected = torch.autograd.grad(loss(), list(network.parameters()))
        assert error(kept[name], torch.cat([each.flatten() for each in expected])) < 1e-6


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize(("micro", "family"), [(8, "dcgan"), (24, "dcgan"), (8, "spectral"), (24, "wavegan")])
def test_micro_batches_leave_the_same_gradients(penalty, micro, family):
    options = ObjectiveOptions(lam=1.0, group=8, gp=1.0)
    update = Update(*networks(family, True), options, batch_size=32)
    batch = a_batch(True, shape_of(family), b=32)
    whole, s1 = gradients(update, batch, ("both",), 1.0, penalty, 32)
    parts, s2 = gradients(update, batch, ("both",), 1.0, penalty, micro)
    for name in whole:
        assert error(parts[name], whole[name]) < 1e-5
    assert s1 == pytest.approx(s2, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("penalty", [False, True])
def test_fakes_beyond_the_margin_of_hinge_leave_the_generator_its_gradient_and_d_nothing(penalty):
    """All of them, and all reals: L_D is 0 there, and the quotient of the slopes 0 / 0."""
    generator, discriminator = networks("mlp", False)
    batch = a_batch(False)
    options = ObjectiveOptions(adversarial="hinge", lam=0.0, r1=0.3, r2=0.7, penalty_every=1)
    update = Update(generator, discriminator, options, batch_size=B)
    with torch.no_grad():  # D tells reals from fakes by their first pixel
        batch.real[:, 0, 0, 0] = 1e3
        discriminator.head.weight.mul_(3e3 / (discriminator(batch.real) - discriminator(generator(batch.z))).mean())
        discriminator.head.bias.sub_((discriminator(batch.real) + discriminator(generator(batch.z))).mean() / 2)
        assert discriminator(batch.real).min() > 1
        assert discriminator(generator(batch.z)).max() < -1
    one, s1 = gradients(update, batch, ("both",), 0.0, penalty)
    two, _ = gradients(update, batch, ("d", "g"), 0.0, penalty)
    assert s1["loss_d"] == 0
    assert two["generator"].norm() > 1
    assert error(one["generator"], two["generator"]) < 1e-5
    if penalty:
        assert error(one["discriminator"], two["discriminator"]) < 1e-5
    else:
        assert two["discriminator"].abs().max() == 0
        assert one["discriminator"].abs().max() < 1e-8 * two["generator"].abs().max()


def test_a_penalty_between_reals_and_fakes_alone_leaves_the_rest_of_the_pass():
    """Without R1 and R2: G's gradient is that of an update without penalties, bit by bit."""
    update = Update(*networks("dcgan", True), ObjectiveOptions(r1=0.0, r2=0.0, gp=10.0, group=8), batch_size=B)
    without, _ = gradients(update, a_batch(True), ("both",), 1.0, False)
    found, statistics = gradients(update, a_batch(True), ("both",), 1.0, True)
    assert torch.equal(found["generator"], without["generator"])
    assert error(found["discriminator"], without["discriminator"]) > 1e-3
    assert statistics["gp"] > 0
    assert statistics["r1"] == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("what", ["silence", "half of it", "a constant", "clipped"])
def test_clips_without_sound_leave_finite_gradients_and_the_same_each_time(what, precision):
    """With penalties at exact zeros, where padded clips are, of reals and of fakes."""
    generator, discriminator = networks("spectral", False)
    batch = a_batch(False, shape_of("spectral"))
    real = {
        "silence": torch.zeros_like(batch.real),
        "half of it": torch.where(torch.arange(512) < 256, batch.real, 0),
        "a constant": torch.full_like(batch.real, 0.25),
        "clipped": batch.real.sign(),
    }[what]
    if what == "silence":
        generator.head = lambda x: 0 * x
    update = Update(
        generator, discriminator, ObjectiveOptions(group=8, gp=1.0), batch_size=B, precision=precision,
        points=stft.points,
    )  # fmt: skip
    one, two = (gradients(update, batch._replace(real=real), ("both",), 1.0, True) for _ in range(2))
    for name, gradient in one[0].items():
        assert torch.isfinite(gradient).all()
        assert torch.equal(gradient, two[0][name])
    assert 0 < one[1]["r1"] < 1e6
    assert 0 < one[1]["r2"] < 1e6


@pytest.mark.parametrize("confidence", [300, 3000])
def test_a_confident_discriminator_leaves_the_generator_its_gradient(confidence):
    """Also where D's own slope at the fakes is 0 in float32."""
    generator, discriminator = networks("mlp", False)
    with torch.no_grad():
        discriminator.head.weight.mul_(confidence)
    update = Update(generator, discriminator, ObjectiveOptions(lam=0.0), batch_size=B)
    batch = a_batch(False)
    with torch.no_grad():
        fake = generator(batch.z)
        if (discriminator(batch.real) - discriminator(fake)).mean() < 0:
            discriminator.head.weight.neg_()  # D is to be right, which is where its slope vanishes
        assert (discriminator(batch.real) - discriminator(fake)).max() > confidence / 30
    one, _ = gradients(update, batch, ("both",), 0.0, False)
    two, _ = gradients(update, batch, ("d", "g"), 0.0, False)
    for network in ("generator", "discriminator"):
        assert torch.isfinite(one[network]).all()
        assert error(one[network], two[network]) < 1e-4


@pytest.mark.parametrize("family", ["dcgan", "spectral", "wavegan"])
def test_bfloat16_gradients_are_near_those_of_float32(family):
    """One pass loses no more to bfloat16 than two do; how much that is depends on the processor's kernels."""
    errors = {}
    for phases in (("both",), ("d", "g")):
        found = {}
        for precision in ("fp32", "bf16"):
            update = Update(*networks(family, False), ObjectiveOptions(), batch_size=B, precision=precision)
            found[precision], _ = gradients(update, a_batch(False, shape_of(family)), phases, 1.0, False)
        errors[phases] = {name: error(found["bf16"][name], found["fp32"][name]) for name in found["fp32"]}
    for name in ("generator", "discriminator"):
        one, two = (errors[phases][name] for phases in errors)
        assert 0 < one < 0.1
        assert one < 1.1 * two
