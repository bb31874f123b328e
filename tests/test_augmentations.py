"""Random transforms of what D sees, and their strength."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist import modalities
from ragdist.config import settings
from ragdist.config.run import AugmentOptions, ObjectiveOptions
from ragdist.distributed.world import World
from ragdist.modalities.augmentations import Augmentations, gain, moved, mute
from ragdist.modalities.image import augmentations as images
from ragdist.objective import ADVERSARIAL
from ragdist.tools.errors import UserError
from ragdist.training.augmentation import EVERY, Augmentation
from ragdist.training.update import Update
from tests.conftest import TINY
from tests.test_update import B, a_batch, error, gradients, networks
from tests.test_world import prepared, train

PICTURE, CLIP = (3, 8, 16), (2, 64)
OFFERED = {
    PICTURE: modalities.training("image").augmentations,
    (1, 16, 16): modalities.training("image").augmentations,
    CLIP: modalities.training("audio").augmentations,
    (4, 12): modalities.training("array").augmentations,
}
ROWS = [(shape, name) for shape, offered in OFFERED.items() for name in (*offered.transforms, *offered.groups)]


def a_chain(shape, name: str, count: int = 6, seed: int = 0):
    """The transforms of a name, samples [count, *shape] in float64 and their numbers, uniform."""
    generate = torch.Generator().manual_seed(seed)
    chain = OFFERED[shape].chain(name, shape)
    x = torch.rand(count, *shape, generator=generate, dtype=torch.float64) * 2 - 1
    return chain, x, torch.rand(count, chain.width, generator=generate, dtype=torch.float64)


def always(chain, uniform: torch.Tensor) -> torch.Tensor:
    return chain.switched(uniform, torch.ones(()))


@pytest.mark.parametrize(("shape", "name"), ROWS)
def test_samples_that_nothing_happens_to_stay_as_they_are_and_others_change(shape, name):
    chain, x, uniform = a_chain(shape, name)
    torch.testing.assert_close(chain(x, chain.switched(uniform, torch.zeros(()))), x, rtol=0, atol=1e-6)
    changed = (chain(x, always(chain, uniform)) - x).flatten(1).abs().amax(1)
    colourless = name == "saturation" and shape[0] == 1
    assert (changed.count_nonzero() >= 2) != colourless, changed


@pytest.mark.parametrize(("shape", "name"), ROWS)
def test_transforms_are_of_a_sample_alone(shape, name):
    chain, x, uniform = a_chain(shape, name)
    numbers = always(chain, uniform)
    alone = torch.cat([chain(x[i : i + 1], numbers[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(alone, chain(x, numbers), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "name"), ROWS)
def test_transforms_are_differentiable_twice(shape, name):
    chain, x, uniform = a_chain(shape, name, count=2)
    numbers = always(chain, uniform)
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def squares(samples: torch.Tensor) -> torch.Tensor:
        return chain(samples, numbers).square() * probe  # the square: most transforms are linear

    assert torch.autograd.gradcheck(squares, x.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradgradcheck(squares, x, fast_mode=True)


@given(st.floats(0, 1), st.integers(0, 2**31))
def test_each_part_happens_with_probability_p(p, seed):
    chain, _, _ = a_chain((1, 16, 16), "ada")
    uniform = torch.rand(400, chain.width, generator=torch.Generator().manual_seed(seed))
    on = chain.switched(uniform, torch.tensor(p))[:, : chain.switches]
    assert set(on.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(on, (uniform[:, : chain.switches] < p).float())
    assert abs(on.mean() - p) < 5 * (0.25 / on.numel()) ** 0.5


# Each against its definition.

ON = torch.ones(1, 1)


@given(st.integers(1, 20), st.integers(-25, 25))
def test_moving_brings_zeros_in(size, by):
    x = torch.arange(1.0, size + 1)[None, None]
    want = torch.zeros(size)
    for place in range(size):
        if 0 <= place + by < size:
            want[place + by] = x[0, 0, place]
    assert torch.equal(moved(x, torch.tensor([[by]]), 2)[0, 0], want)


def test_diffaugments_ranges():
    x = torch.full((1, 3, 16, 16), 0.5)
    x[:, 0] = -0.5
    lowest, highest = torch.zeros(1, 1), torch.full((1, 1), 1 - 2.0**-24)
    assert images.brightness(x, ON, lowest) == pytest.approx(x - 0.5)
    assert images.brightness(x, ON, highest) == pytest.approx(x + 0.5, abs=1e-6)
    grey = x.mean(1, keepdim=True).expand_as(x)
    assert images.saturation(x, ON, lowest) == pytest.approx(grey, abs=1e-6)
    assert images.saturation(x, ON, highest) == pytest.approx(2 * x - grey, abs=1e-5)
    assert images.contrast(x, ON, lowest) == pytest.approx((x + x.mean()) / 2, abs=1e-6)
    assert images.contrast(x, ON, highest) == pytest.approx(1.5 * x - x.mean() / 2, abs=1e-5)
    draws = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    marked = torch.ones(4000, 1, 16, 16)
    cut = images.cutout(marked, torch.ones(4000, 1), draws).sum((1, 2, 3))
    assert cut.min() == 16 * 16 - 64  # half the height times half the width
    assert cut.max() == 16 * 16 - 16  # in a corner a quarter of that is left
    rows = images.translation(marked, torch.ones(4000, 1), draws)[:, 0, :, 8].sum(1)
    assert rows.unique().tolist() == [14.0, 15.0, 16.0]  # up to an eighth


def test_pictures_are_turned_and_mirrored():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    quarter = [images.turn(x, ON, torch.tensor([[k / 4]])) for k in range(4)]
    assert all(torch.equal(found, torch.rot90(x, -k, (2, 3))) for k, found in enumerate(quarter))
    wide = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert all(torch.equal(images.turn(wide, ON, torch.tensor([[k / 4]])), wide) for k in (0, 1))
    assert torch.equal(images.turn(wide, ON, torch.tensor([[0.9]])), wide.flip((2, 3)))
    assert torch.equal(images.flip(x, ON, torch.tensor([[0.1]])), x.flip(3))
    assert torch.equal(images.flip(x, ON, torch.tensor([[0.9]])), x)
    right = images.shift(torch.arange(8.0).expand(1, 1, 8, 8), ON, torch.tensor([[0.5, 0.99]]))
    assert right[0, 0, 0].tolist() == [1, 0, 1, 2, 3, 4, 5, 6]


def turned(x: torch.Tensor, **numbers: float) -> torch.Tensor:
    """`geometry` with some parts on, by their uniform numbers."""
    parts = {"scale": (0, [0]), "before": (1, [1]), "stretch": (2, [2]), "after": (3, [3]), "move": (4, [4, 5])}
    on, uniform = torch.zeros(1, 5, dtype=x.dtype), torch.full((1, 6), 0.5, dtype=x.dtype)
    for name, value in numbers.items():
        part, places = parts[name]
        on[0, part], uniform[0, places[0]] = 1, value
    return images.geometry(x, on, uniform)


def test_geometry_by_known_transforms():
    x = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    for part in ("before", "after"):
        assert torch.allclose(turned(x, **{part: 0.75}), torch.rot90(x, -1, (2, 3)), atol=1e-5)  # pi / 2, clockwise
        assert torch.allclose(turned(x, **{part: 0.0}), x.flip((2, 3)), atol=1e-5)
    assert torch.allclose(turned(x, before=0.75, after=0.25), x, atol=1e-5)
    by_two = normal.cdf(torch.tensor(5.0, dtype=torch.float64)).item()  # 2 to the power of 0.2 times 5
    middle = turned(x, scale=by_two)
    expected = torch.nn.functional.interpolate(x[:, :, 2:6, 2:6], scale_factor=2, mode="bilinear")
    assert torch.allclose(middle[:, :, 1:7, 1:7], expected[:, :, 1:7, 1:7], atol=1e-3)
    a_pixel = normal.cdf(torch.tensor(1.0)).item()  # an eighth of the width
    assert torch.allclose(turned(x, move=a_pixel)[..., 1:], x[..., :-1], atol=1e-5)


def test_tones_by_known_matrices():
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    uniform, off = torch.full((1, 5), 0.5), torch.zeros(1, 5)

    def tone(part: int, value: float) -> torch.Tensor:
        on, numbers = off.clone(), uniform.clone()
        on[0, part], numbers[0, part] = 1, value
        return images.tone(x, on, numbers)

    one = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(1.0)).item()
    mean = x.mean(1, keepdim=True)
    assert torch.allclose(tone(0, one), x + 0.2, atol=1e-5)
    assert torch.allclose(tone(1, one), x * 2**0.5, atol=1e-5)
    assert torch.allclose(tone(2, 0.1), x - 2 * mean, atol=1e-5)
    assert torch.allclose(tone(3, 0.5 + 1 / 3), x[:, [2, 0, 1]], atol=1e-5)  # a third of a turn: red becomes green
    assert torch.allclose(tone(4, one), mean + 2 * (x - mean), atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_bands_add_up_to_the_picture(count):
    bank = images._bank(count)
    delta = np.zeros(bank.shape[1])
    delta[bank.shape[1] // 2] = 1
    assert bank.sum(0) == pytest.approx(delta, abs=1e-6)
    response = np.abs(np.fft.rfft(bank, 1024, axis=1))
    assert (np.diff(response.argmax(1)) >= 0).all()  # the lowest first


def test_clips_by_their_definitions():
    x = torch.linspace(-1, 1, 64).expand(1, 2, 64)
    assert torch.allclose(gain(x, ON, torch.tensor([[0.8413447]])), x * 2**0.5, atol=1e-5)
    holes = mute(torch.ones(500, 1, 64), torch.ones(500, 1), torch.linspace(0, 0.999, 500)[:, None]).sum((1, 2))
    assert holes.min() == 48
    assert holes.max() == 56


# In an update.


@pytest.mark.parametrize("adversarial", ADVERSARIAL)
@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("names", ["diffaugment", "ada"])
def test_one_pass_equals_alternating(adversarial, penalty, names):
    chain = OFFERED[1, 16, 16].chain(names, (1, 8, 8))
    options = ObjectiveOptions(adversarial=adversarial, lam=2.0, pool=8, group=8, r1=0.3, r2=0.7, gp=0.5)
    update = Update(*networks("dcgan", True), options, batch_size=B, augment=chain)
    batch = a_batch(True)
    plain = gradients(update, batch, ("both",), 2.0, penalty)
    uniform = torch.rand(B, 2, chain.width, generator=torch.Generator().manual_seed(3))
    batch = batch._replace(augment=always(chain, uniform))
    one, s1 = gradients(update, batch, ("both",), 2.0, penalty)
    two, s2 = gradients(update, batch, ("d", "g"), 2.0, penalty)
    assert error(one["discriminator"], two["discriminator"]) < 1e-5
    assert error(one["generator"], two["generator"]) < 1e-5
    assert s1 == pytest.approx(s2, rel=1e-4, abs=1e-6)
    # D sees something else, the relative term does not.
    assert error(one["discriminator"], plain[0]["discriminator"]) > 0.01
    assert s1["distance_to_real"] == plain[1]["distance_to_real"]
    parts, _ = gradients(update, batch, ("both",), 2.0, penalty, micro=8)
    assert error(parts["generator"], one["generator"]) < 1e-5


def test_penalties_are_of_d_with_its_transform():
    chain = OFFERED[1, 16, 16].chain("ada", (1, 8, 8))
    generator, discriminator = networks("dcgan", False)
    update = Update(generator, discriminator, ObjectiveOptions(lam=0, r1=1, r2=1), batch_size=B, augment=chain)
    uniform = torch.rand(B, 2, chain.width, generator=torch.Generator().manual_seed(3))
    batch = a_batch(False)._replace(augment=always(chain, uniform))
    _, found = gradients(update, batch, ("both",), 0.0, True)
    real = batch.real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(chain(real, batch.augment[:, 0])).sum(), real)
    assert found["r1"] == pytest.approx(slope.square().sum().item() / B, rel=1e-4)


# The strength.


def augmentation(**options) -> Augmentation:
    options = AugmentOptions(**{"transforms": "color,cutout", **options})
    return Augmentation(options, OFFERED[PICTURE], PICTURE, seed=5, batch_size=8, device=torch.device("cpu"))


def test_numbers_are_a_function_of_the_sample_alone():
    made = augmentation(p=0.4)
    whole = made.numbers(64, range(8))
    assert whole.shape == (8, 2, made.chain.width)
    parts = torch.cat([made.numbers(64, range(3)), made.numbers(64, range(3, 8))])
    assert torch.equal(parts, whole)
    assert not torch.equal(made.numbers(72, range(8)), whole)
    assert not torch.equal(whole[:, 0], whole[:, 1])  # a real's and its fake's
    assert augmentation(transforms="").numbers(64, range(8)) is None


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_scheduled_strength_rises_over_samples(schedule):
    made = augmentation(schedule=schedule, p=0.6, samples=1000)
    found = [made.strength(seen).item() for seen in (0, 250, 500, 1000, 5000)]
    assert found[0] == 0
    assert found[2:] == pytest.approx([0.3, 0.6, 0.6])
    assert found == sorted(found)
    assert made.state_dict() == {}


def test_the_strength_of_adas_transforms_follows_unless_it_is_told():
    assert augmentation(transforms="ada").adaptive
    assert not augmentation(transforms="diffaugment").adaptive
    assert not augmentation(transforms="ada", schedule="fixed").adaptive
    assert augmentation(transforms="color", schedule="adaptive").adaptive


@pytest.mark.parametrize(("options", "words"), [
    ({"transforms": ""}, ""),
    ({"p": 0.3}, "augmentation in front of D: color,cutout, p 0.3"),
    ({"schedule": "cosine", "p": 0.5, "samples": 9000}, "augmentation in front of D: color,cutout, p rises to 0.5 over 9,000 samples"),
    ({"transforms": "ada"}, "augmentation in front of D: ada, p up to 1, by the pairs that D tells apart (target 0.9)"),
])  # fmt: skip
def test_what_a_run_says_of_its_augmentation(options, words):
    assert str(augmentation(**options)) == words


def test_adaptive_strength_follows_the_pairs():
    made, no = augmentation(schedule="adaptive", samples=320, target=0.7, p=0.5), torch.zeros(())
    step = EVERY * 8 / 320

    def follow(accuracies, first=0, skipped=no) -> float:
        for number, accuracy in enumerate(accuracies):
            made.follow(torch.tensor(accuracy), skipped, 8 * (first + number))
        return made.p.item()

    assert follow([0.9] * (EVERY - 1)) == 0  # not before so many updates
    assert follow([0.9], first=EVERY - 1) == pytest.approx(step)
    assert follow([0.0] * (EVERY - 1) + [3.0]) == pytest.approx(2 * step)  # the mean decides
    assert follow([0.1] * EVERY) == pytest.approx(step)
    assert follow([float("nan")] * EVERY, skipped=torch.ones(())) == pytest.approx(step)
    assert follow([0.9] * 100 * EVERY) == pytest.approx(0.5)  # p is the most
    assert follow([0.1] * 100 * EVERY) == 0


def run(data, out, *words: str):
    words = [
        *TINY,
        "--data",
        str(data),
        "--out",
        str(out),
        "--monitor.tensorboard",
        "false",
        "--samples",
        "320",
        *words,
    ]
    return settings.parse([*words, "--augment", "ada", "--augment.samples", "400", "--augment.target", "0.51"], "test")[
        0
    ]


def test_adaptive_strength_goes_through_a_stop_and_another_number_of_workers(tmp_path, digits):
    world = World(0, 1, torch.device("cpu"))
    whole = train(world, run(digits, tmp_path / "whole"))["sha"]
    trainer, monitor = prepared(world, run(digits, tmp_path / "parts"))
    assert not trainer.train(monitor, lambda: trainer.seen >= 160).finished
    stopped = trainer.state.augmentation
    assert 0 < stopped.p < 1
    again, monitor = prepared(world, run(digits, tmp_path / "parts"))
    assert torch.equal(again.state.augmentation.p, stopped.p)
    assert torch.equal(again.state.augmentation.sums, stopped.sums)
    assert again.train(monitor).weights_sha256 == whole


@pytest.mark.parametrize(("words", "what"), [
    (["--augment", "blur"], "such samples have no transform 'blur': use diffaugment, color, ada, "),
    (["--augment.p", "1.5"], "--augment.p 1.5"),
    (["--augment.target", "0.3"], "--augment.target 0.3"),
    (["--objective.space", "feature"], "leave one out"),
])  # fmt: skip
def test_what_cannot_be(tmp_path, digits, words, what):
    with pytest.raises(UserError, match=what.replace(".", r"\.")):
        prepared(
            World(0, 1, torch.device("cpu")),
            settings.parse(
                [*TINY, "--data", str(digits), "--out", str(tmp_path), "--augment", "color", *words], "test"
            )[0],
        )


def test_modalities_without_transforms_say_so():
    with pytest.raises(ValueError, match="no transform 'color': none at all"):
        Augmentations().chain("color", (5, 20))
