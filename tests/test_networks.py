"""Every family makes samples of every shape it claims, starts at unit variance, and mixes no samples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.config.run import NetworkOptions
from ragdist.generation.generator_file import weights_sha256
from ragdist.networks import FAMILIES, resnet
from ragdist.networks.build import build_discriminator, build_generator


def options(family: str, **more) -> dict:
    return vars(NetworkOptions(family=family, z_dim=8, g_width=8, d_width=8, max_width=32, group_width=4, **more))


PICTURES = [(channels, size, size) for size in (8, 16, 32, 64, 128, 256) for channels in (1, 3)]
CLIPS = [(1, 512), (1, 1024), (2, 2048), (1, 4096), (1, 8192), (2, 16384)]
# Shapes of samples that a family takes, by the family; others take pictures. The first is the least.
SHAPES = {
    "spectral": CLIPS,
    "wavegan": [(1, 64), (1, 128), *CLIPS],
    "resnet1d": [(1, 1), (2, 12), (3, 50), (2, 64), (65, 32)],
}
CASES = [(family, shape) for family in FAMILIES for shape in SHAPES.get(family, PICTURES)]


def small(family: str, least: int = 16) -> tuple[int, ...]:
    """A small shape of samples for a family: clips of 1,024, or three-channel pictures of so many pixels' side."""
    return (2, 1024) if family in SHAPES else (3, least, least)


@pytest.mark.parametrize(("family", "shape"), CASES, ids=lambda value: str(value).replace(" ", ""))
@pytest.mark.parametrize("classes", [0, 5])
def test_shapes(family, shape, classes):
    generator, discriminator = (
        build(options(family), shape, classes) for build in (build_generator, build_discriminator)
    )
    labels = torch.tensor([0, 4]) if classes else None
    fake = generator(torch.randn(2, 8), labels)
    assert fake.shape == (2, *shape)
    assert fake.abs().max() <= 1
    assert fake.dtype == torch.float32
    assert discriminator(fake, labels).shape == (2,)
    assert not list(generator.buffers()) + list(discriminator.buffers())


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_do_not_depend_on_what_was_built_before(family):
    """What networks keep for all of their kind, as windows and filters, is in no state."""
    shape = small(family)
    before = [weights_sha256(build(options(family), shape, 0).state_dict())
              for build in (build_generator, build_discriminator)]  # fmt: skip
    generator, discriminator = (build(options(family), shape, 0) for build in (build_generator, build_discriminator))
    discriminator(generator(torch.randn(2, 8))).sum().backward()
    assert before == [weights_sha256(network.state_dict()) for network in (generator, discriminator)]
    assert set(generator.state_dict()) == {name for name, _ in generator.named_parameters()}
    assert set(discriminator.state_dict()) == {name for name, _ in discriminator.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("classes", [0, 5])
def test_a_latents_first_number_chooses_a_code(family, classes):
    """All codes alike often; latents of one code, and no others, see its embedding."""
    generator = build_generator(options(family, codes=4), small(family), classes)
    numbers = torch.tensor([-9.0, -0.7, -0.6, -0.1, 0.1, 0.6, 0.7, 9.0])  # a normal number's quartiles are at 0.674
    z = torch.cat([numbers[:, None], torch.zeros(8, 7)], 1)
    labels = torch.zeros(8, dtype=torch.int64) if classes else None
    code = generator.code(z, labels)
    assert code.shape == (8, generator.code_dim) == (8, 8 * (3 if classes else 2))
    assert torch.equal(code[:, -8:], generator.codes.weight[[0, 0, 1, 1, 2, 2, 3, 3]])
    assert generator(z, labels).shape == (8, *small(family))


@pytest.mark.parametrize("shape", [(7,), (2, 50), (1, 12, 20)])
def test_mlp_takes_any_sample_shape(shape):
    fake = build_generator(options("mlp"), shape, 0)(torch.randn(3, 8))
    assert fake.shape == (3, *shape)
    assert build_discriminator(options("mlp"), shape, 0)(fake).shape == (3,)


@pytest.mark.parametrize("family", ["dcgan", "resnet"])
@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 8, 8), (3, 24, 24), (3, 16, 32), (3, 512, 512), (100,)])
def test_other_shapes_are_refused_with_advice(family, shape):
    for build in (build_generator, build_discriminator):
        with pytest.raises(ValueError, match=r"--size, or use network\.family 'mlp'"):
            build(options(family), shape, 0)


@pytest.mark.parametrize("family", ["spectral", "wavegan"])
@pytest.mark.parametrize("shape", [(1, 32), (1, 1000), (2, 3072), (1, 32, 32), (100,)])
def test_other_lengths_are_refused_with_advice(family, shape):
    least = SHAPES[family][0][1]
    for build in (build_generator, build_discriminator):
        with pytest.raises(ValueError, match=rf"a power of two from {least}, and .*{list(shape)[-1]}.* 'mlp'$"):
            build(options(family), shape, 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [False, True])
def test_no_sample_depends_on_another(family, labels):
    """What the one-pass update and every world size rest on."""
    shape, classes = small(family), 4 if labels else 0
    generator, discriminator = (
        build(options(family), shape, classes) for build in (build_generator, build_discriminator)
    )
    z, y = torch.randn(6, 8), torch.arange(6) % 4 if labels else None
    part = y[:2] if labels else None
    together, alone = generator(z, y), generator(z[:2], part)
    torch.testing.assert_close(together[:2], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(discriminator(together, y)[:2], discriminator(alone, part), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_matter(family):
    shape = small(family)
    generator, discriminator = (build(options(family), shape, 3) for build in (build_generator, build_discriminator))
    z, x = torch.randn(1, 8), torch.randn(1, *shape)
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert not torch.allclose(generator(z, zero), generator(z, one))
    assert not torch.allclose(discriminator(x, zero), discriminator(x, one))


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("family", ["dcgan", "resnet"])
def test_the_initialization_keeps_the_variance(family, size, blocks):
    shape = (3, size, size)
    wide = vars(NetworkOptions(family=family, g_width=32, d_width=32, max_width=128, blocks=blocks))
    generator, discriminator = build_generator(wide, shape, 0, seed=3), build_discriminator(wide, shape, 0, seed=3)
    assert 0.2 < torch.atanh(generator(torch.randn(64, 64)).clamp(-0.999999, 0.999999)).std() < 3
    # Smooth, as pictures are: D averages white noise away.
    smooth = torch.nn.functional.interpolate(torch.randn(64, 3, 4, 4), size, mode="bilinear")
    assert 0.1 < discriminator(smooth).std() < 3


@pytest.mark.parametrize("shape", [(1, 1024), (2, 8192)])
@pytest.mark.parametrize("family", SHAPES)
def test_the_initialization_suits_clips(family, shape):
    wide = vars(NetworkOptions(family=family, g_width=32, d_width=32, max_width=128))
    generator, discriminator = build_generator(wide, shape, 0, seed=3), build_discriminator(wide, shape, 0, seed=3)
    # No louder than full scale, and not silent.
    assert 0.002 < torch.atanh(generator(torch.randn(16, 64)).clamp(-0.999999, 0.999999)).std() < 3
    smooth = torch.nn.functional.interpolate(torch.randn(32, shape[0], shape[1] // 8), shape[1], mode="linear") / 4
    assert 0.01 < discriminator(smooth).std() < 3


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_the_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone(seed):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    digests = [
        weights_sha256(build_generator(options("mlp"), (4,), 0, seed=s).state_dict()) for s in (seed, seed, seed + 1)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("size", [1, 2, 4, 9])
@pytest.mark.parametrize("how", ["Doubled.apply", "double"])
def test_all_ways_of_doubling_are_one(size, how):
    """Of a GPU that is to give the same bits each time, and of torch.compile; their gradients, too."""
    double = {"Doubled.apply": resnet.Doubled.apply, "double": resnet.double}[how]
    x = torch.randn(2, 3, size, size + 1, dtype=torch.float64, requires_grad=True)
    usual = resnet._double(x)
    weights = torch.randn_like(usual)
    torch.testing.assert_close(double(x), usual, rtol=1e-12, atol=1e-12)
    (mine,), (theirs,) = (torch.autograd.grad((y * weights).sum(), x) for y in (double(x), usual))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_doubling_of_one_axis_is_that_of_pytorch():
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    usual = torch.nn.functional.interpolate(x, scale_factor=2, mode="linear", align_corners=False)
    torch.testing.assert_close(resnet.double(x, dims=(2,)), usual, rtol=1e-12, atol=1e-12)


def test_doubling_keeps_the_order_of_channels_in_memory():
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    doubled = resnet.Doubled.apply(x)
    assert doubled.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(doubled, x, torch.ones_like(doubled))
    assert gradient.is_contiguous(memory_format=torch.channels_last)
