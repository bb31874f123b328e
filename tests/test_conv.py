"""The networks' convolution is PyTorch's, and its second derivative is right where it takes another way."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ragdist.config.run import NetworkOptions, ObjectiveOptions
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.networks.conv import Conv1d, Conv2d, penalized
from ragdist.training.batch import Batch
from ragdist.training.update import Update
from tests.test_networks import options, small

HOW = {
    "plain": {"kernel_size": 3, "padding": 1},
    "pointwise": {"kernel_size": 1, "bias": False},
    "strided": {"kernel_size": 4, "stride": 2, "padding": 1},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "per channel": {"kernel_size": (4, 3), "groups": 4},
    "uneven": {"kernel_size": (3, 2), "stride": (3, 2), "padding": (1, 0), "dilation": (1, 2), "bias": False},
}

# The same of one axis, where rests are more: an input's last steps that a stride leaves out.
HOW_1D = {
    "plain": {"kernel_size": 5, "padding": 2},
    "pointwise": {"kernel_size": 1, "bias": False},
    "strided": {"kernel_size": 25, "stride": 4, "padding": 12},
    "grouped": {"kernel_size": 5, "padding": 2, "groups": 2},
    "per channel": {"kernel_size": 4, "groups": 4},
    "uneven": {"kernel_size": 3, "stride": 3, "padding": 1, "dilation": 2, "bias": False},
}
ALL = [*((Conv2d, how) for how in HOW.values()), *((Conv1d, how) for how in HOW_1D.values())]
NAMES = [*HOW, *(f"{name} 1-d" for name in HOW_1D)]


def a_layer(how: dict, kind=Conv2d, dtype=torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return kind(4, 4, **how, dtype=dtype)


def an_input(dtype=torch.float64, size=(7, 8)) -> torch.Tensor:
    """[3, 4, *size]."""
    return torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(("kind", "how"), ALL, ids=NAMES)
def test_derivatives_equal_finite_differences(kind, how):
    layer, x = a_layer(how, kind), an_input(size=(5, 6) if kind is Conv2d else (30,)).requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(x, *parameters):
        with penalized(layer):
            return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    def slope(x, *parameters):
        y = function(x, *parameters)
        return torch.autograd.grad(y.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradcheck(slope, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_first_derivative_has_the_bits_of_pytorch(how, channels_last):
    found = []
    for kind in (Conv2d, nn.Conv2d):
        layer, x = a_layer(how, kind, torch.float32), an_input(torch.float32)
        x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        with penalized(layer):
            y = layer(x.requires_grad_())
        y.square().sum().backward()
        found.append((y.detach(), x.grad, *(p.grad for p in layer.parameters())))
        assert y.is_contiguous(memory_format=torch.channels_last) or not channels_last
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def penalty_gradients(d: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of a loss and a gradient penalty, at all of D's weights."""
    d.zero_grad()
    with penalized(d):
        logits = d(x)
    (at_x,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    (logits.square().sum() + at_x.square().sum()).backward()
    return torch.cat([p.grad.flatten() for p in d.parameters()])


@given(
    length=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 5), padding=st.integers(0, 4),
    dilation=st.integers(1, 3), groups=st.sampled_from([1, 2, 4]), bias=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_one_axis_has_the_second_derivative_of_pytorch_with_any_rest(length, bias, **how):
    kernel = how.pop("kernel")
    assume(length + 2 * how["padding"] >= how["dilation"] * (kernel - 1) + 1)
    found = []
    for kind in (Conv1d, nn.Conv1d):
        layer, x = a_layer({"kernel_size": kernel, "bias": bias, **how}, kind), an_input(size=(length,))
        with penalized(layer):
            y = layer(x.requires_grad_())
        (at_x,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        at_x.square().sum().backward()
        found.append((y, at_x, x.grad, layer.weight.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", ["dcgan", "resnet", "wavegan", "spectral", "resnet1d"])
@given(b=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=5, deadline=None)
def test_a_penalty_has_the_gradients_of_pytorch(family, b, seed):
    shape = small(family)
    d = build_discriminator(options(family), shape, 0).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # the zero-initialized layers would hide mistakes behind them
        for p in d.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    x = torch.randn(b, *shape, generator=generator, dtype=torch.float64).requires_grad_()
    ours = penalty_gradients(d, x)
    changed = [layer for layer in d.modules() if isinstance(layer, (Conv1d, Conv2d))]
    assert changed
    for layer in changed:
        layer.__class__ = nn.Conv1d if isinstance(layer, Conv1d) else nn.Conv2d
    theirs = penalty_gradients(d, x)
    assert theirs.norm() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_penalty_leaves_the_weights_out_and_an_ordinary_backward_does_not():
    layer, x = a_layer(HOW["plain"]), an_input().requires_grad_()

    def asked(**how):
        with penalized(layer):
            y = layer(x)
        return torch.autograd.grad(y.sum(), [x, layer.weight, layer.bias], allow_unused=True, **how)

    for_penalty, whole = asked(create_graph=True), asked()
    assert torch.equal(for_penalty[0], whole[0])
    assert for_penalty[1:] == (None, None)
    expected = torch.autograd.grad(layer(x).sum(), [x, layer.weight, layer.bias])
    assert all(torch.equal(a, b) for a, b in zip(whole, expected, strict=True))


def test_autocast_reaches_inside():
    layer, x, found = a_layer(HOW["plain"], dtype=torch.float32), an_input(torch.float32).requires_grad_(), []
    with torch.autocast("cpu", torch.bfloat16):
        with penalized(layer):
            y = layer(x)
        expected = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, expected)
    for result in (y, expected):
        layer.zero_grad()
        (at_x,) = torch.autograd.grad(result.float().square().sum(), x, create_graph=True)
        at_x.float().square().sum().backward()
        found.append(layer.weight.grad)
    assert found[0].dtype == torch.float32
    assert (found[0] - found[1]).norm() < 1e-2 * found[1].norm()


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_second_derivative_is_that_of_pytorch_in_float32_and_channels_last(how):
    found = []
    for kind in (Conv2d, nn.Conv2d):
        layer = a_layer(how, kind, torch.float32)
        x = an_input(torch.float32).contiguous(memory_format=torch.channels_last).requires_grad_()
        with penalized(layer):
            y = layer(x)
        (at_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        at_x.square().sum().backward()
        found.append((x.grad, layer.weight.grad))
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() < 1e-5 * b.norm()


class Convolutions(TorchDispatchMode):
    """Counts them, backwards included."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "convolution" in func.__name__
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["resnet", "spectral", "resnet1d"])
def test_an_update_with_penalties_takes_no_more_convolutions_for_more_groups(family):
    counts, shape = [], small(family)
    for group_width in (8, 2):
        network = vars(NetworkOptions(family, z_dim=8, g_width=8, d_width=8, max_width=16, group_width=group_width))
        networks = [build(network, shape, 0) for build in (build_generator, build_discriminator)]
        update = Update(*networks, ObjectiveOptions(group=4), batch_size=4)
        batch = Batch(torch.randn(4, 8), torch.randn(4, *shape), None)
        with Convolutions() as counter:
            update(batch, "both", 1.0, True)[0].backward()
        counts.append(counter.count)
    assert counts[0] == counts[1] > 50
