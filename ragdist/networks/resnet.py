"""Residual networks without normalization, after the recipe of R3GAN (Huang et al. 2024).

Bottleneck blocks with grouped 3x3 convolutions (ResNeXt, Xie et al. 2017), leaky ReLUs, bilinear
resampling, and an initialization that keeps the variance through any depth: each branch ends in a
zero-initialized layer and its other layers are scaled down with the number of blocks (Fixup, Zhang
et al. 2019).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ragdist.networks.base import (
    Discriminator,
    Generator,
    Stage,
    leaky,
    made_by_doubling,
    read_by_halving,
    stages,
    variance_preserving,
)
from ragdist.networks.conv import Conv2d


class Block(nn.Module):
    """x + f(x): 1x1 to ``expand`` times the width, grouped 3x3, 1x1 back; or such ones of one dimension."""

    def __init__(
        self, width: int, *, expand: int, group_width: int, num_blocks: int, conv: type = Conv2d, kernel: int = 3
    ):
        super().__init__()
        inner = width * expand
        groups = max(inner // group_width, 1)
        self.widen = variance_preserving(conv(width, inner, 1))
        self.spatial = variance_preserving(conv(inner, inner, kernel, padding=kernel // 2, groups=groups))
        self.narrow = conv(inner, width, 1, bias=False)
        nn.init.zeros_(self.narrow.weight)
        with torch.no_grad():  # Fixup's L^(-1/(2m - 2)) for the m - 1 = 2 layers before the zero one
            self.widen.weight.mul_(num_blocks**-0.25)
            self.spatial.weight.mul_(num_blocks**-0.25)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(leaky(self.spatial(leaky(self.widen(x)))))


def _plan(sample_shape, width: int, max_width: int) -> tuple[int, list[int]]:
    """Channels of a sample, and the widths at the full size, at half of it, ... down to 4x4."""
    channels, doublings = stages(sample_shape, "resnet")
    widths = [min(width << i, max_width) for i in range(doublings + 1)]
    return channels, widths


def change_of_width(before: int, after: int, conv: type = Conv2d) -> nn.Module:
    """A change of width, by a linear layer at each place."""
    return variance_preserving(conv(before, after, 1, bias=False), gain=1.0) if before != after else nn.Identity()


def blocks_at(
    count: int, width: int, expand: int, group_width: int, total: int, conv: type = Conv2d, kernel: int = 3
) -> nn.Sequential:
    """The blocks at one size; arguments as of `Block`, of which the network has ``total``.

    Raises:
        ValueError: the groups do not fit the width.
    """
    if width % min(group_width, width):
        raise ValueError(f"network.group_width {group_width} does not divide the width {width}: use a power of two")
    how = {"expand": expand, "group_width": group_width, "num_blocks": total, "conv": conv, "kernel": kernel}
    return nn.Sequential(*(Block(width, **how) for _ in range(count)))


def _double(x: Tensor) -> Tensor:
    """Double the height and width of samples, bilinear."""
    if torch.compiler.is_compiling():
        return double(x)
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        return Doubled.apply(x)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def double(x: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    """Double axes of samples, (bi)linear, in operations that all have a deterministic gradient.

    torch.compile would differentiate the usual operator with other bits each time.
    """
    for dim in dims:
        size = x.shape[dim]
        before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, size - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, size - 1), x.narrow(dim, size - 1, 1)], dim)
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim + 1).flatten(dim, dim + 1)
    return x


class Doubled(torch.autograd.Function):
    """Doubling with a deterministic backward, for GPUs.

    There `F.interpolate` is taken apart into some thirty operations, forwards too; PyTorch's kernel has an order of its
    own only backwards. G is differentiated once, so its backward needs none.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.ops.aten.upsample_bilinear2d.vec(x, None, False, [2.0, 2.0])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        for dim in (2, 3):
            # Pixel i went into 2i and 2i + 1 with weight 3/4, and with 1/4 into 2i - 1 and 2i + 2; one of the border
            # stands in for what lies beyond it.
            size = gradient.shape[dim] // 2
            even, odd = gradient.unflatten(dim, (size, 2)).unbind(dim + 1)
            total = 0.75 * (even + odd)
            total.narrow(dim, 0, size - 1).add_(even.narrow(dim, 1, size - 1), alpha=0.25)
            total.narrow(dim, 1, size - 1).add_(odd.narrow(dim, 0, size - 1), alpha=0.25)
            total.narrow(dim, 0, 1).add_(even.narrow(dim, 0, 1), alpha=0.25)
            total.narrow(dim, size - 1, 1).add_(odd.narrow(dim, size - 1, 1), alpha=0.25)
            gradient = total
        return gradient


class ResNetGenerator(Generator):
    """A learned 4x4 basis mixed by the latent, then ``blocks`` blocks at each size."""

    def __init__(
        self,
        sample_shape,
        *,
        z_dim: int,
        width: int,
        max_width: int,
        blocks: int,
        expand: int,
        group_width: int,
        num_classes: int = 0,
        codes: int = 0,
    ):
        super().__init__(z_dim, num_classes, codes)
        channels, widths = _plan(sample_shape, width, max_width)
        widths = widths[::-1]
        total = blocks * len(widths)
        self.base = variance_preserving(nn.Linear(self.code_dim, widths[0] * 16), gain=1.0)
        self.change = nn.ModuleList(change_of_width(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(blocks_at(blocks, w, expand, group_width, total) for w in widths)
        self.out = variance_preserving(nn.Conv2d(widths[-1], channels, 1), gain=1.0)

    def by_size(self) -> list[Stage]:
        return made_by_doubling(4, len(self.stages))

    def synthesize(self, code: Tensor) -> Tensor:
        x = self.base(code).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        x = self.stages[0](x)
        for change, stage in zip(self.change, self.stages[1:], strict=True):
            # The narrower width first: the same function (both are linear), at a quarter of the cost.
            x = stage(_double(change(x)))
        return self.out(x)


class ResNetDiscriminator(Discriminator):
    """The generator's mirror image; its 4x4 end is read by one kernel a channel."""

    def __init__(
        self,
        sample_shape,
        *,
        width: int,
        max_width: int,
        blocks: int,
        expand: int,
        group_width: int,
        num_classes: int = 0,
    ):
        channels, widths = _plan(sample_shape, width, max_width)
        super().__init__(widths[-1], num_classes)
        total = blocks * len(widths)
        self.stem = variance_preserving(Conv2d(channels, widths[0], 1), gain=1.0)
        self.stages = nn.ModuleList(blocks_at(blocks, w, expand, group_width, total) for w in widths)
        self.change = nn.ModuleList(change_of_width(a, b) for a, b in pairwise(widths))
        self.read = variance_preserving(Conv2d(widths[-1], widths[-1], 4, groups=widths[-1]), gain=1.0)

    def by_size(self) -> list[Stage]:
        return read_by_halving(4 << len(self.change), len(self.stages), "stem")

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for stage, change in zip(self.stages, self.change, strict=False):
            x = change(F.avg_pool2d(stage(x), 2))  # halving by bilinear interpolation is this average
        return leaky(self.read(self.stages[-1](x))).flatten(1)


FAMILY = (ResNetGenerator, ResNetDiscriminator)
