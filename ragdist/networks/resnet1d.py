"""Residual networks of one dimension, for sequences [C, T]: texts, as distributions over tokens, trajectories, signals.

The blocks are those of `resnet`, with longer kernels. Signals are made from a few steps, doubled to all of them. Tokens
that stand beside each other are not alike, as doubled steps would be: texts are made, and read, at their full length.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ragdist.networks.base import (
    Discriminator,
    Generator,
    Stage,
    leaky,
    made_by_doubling,
    read_by_halving,
    variance_preserving,
)
from ragdist.networks.conv import Conv1d
from ragdist.networks.heads import DISTRIBUTIONS
from ragdist.networks.resnet import blocks_at, change_of_width, double

_KERNEL = 5
_SHORTEST = 8  # steps at which G begins, and D ends, at least


def _plan(sample_shape: tuple[int, ...], width: int, max_width: int, head: str) -> tuple[int, int, list[int]]:
    """Channels of a sample, steps at the short end, and the widths at all steps, at half of them, ... down to there."""
    if len(sample_shape) != 2:
        raise ValueError(
            f"network.family 'resnet1d' takes samples of [channels, length], and the data's are {list(sample_shape)}: "
            "use network.family 'mlp'"
        )
    channels, steps = sample_shape
    widths = [min(width, max_width)]
    while head not in DISTRIBUTIONS and steps % 2 == 0 and steps >= 2 * _SHORTEST:
        steps //= 2
        widths.append(min(2 * widths[-1], max_width))
    return channels, steps, widths


class ResNet1dGenerator(Generator):
    """A linear layer to a few steps, then ``blocks`` blocks at each doubling of them."""

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
        head: str = "identity",
        num_classes: int = 0,
        codes: int = 0,
    ):
        super().__init__(z_dim, num_classes, codes)
        channels, self.steps, widths = _plan(sample_shape, width, max_width, head)
        widths = widths[::-1]
        total = blocks * len(widths)
        self.base = variance_preserving(nn.Linear(self.code_dim, widths[0] * self.steps), gain=1.0)
        self.change = nn.ModuleList(change_of_width(a, b, Conv1d) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(blocks_at(blocks, w, expand, group_width, total, Conv1d, _KERNEL) for w in widths)
        self.out = variance_preserving(nn.Conv1d(widths[-1], channels, 1), gain=1.0)

    def by_size(self) -> list[Stage]:
        return made_by_doubling(self.steps, len(self.stages))

    def synthesize(self, code: Tensor) -> Tensor:
        x = self.stages[0](self.base(code).unflatten(1, (-1, self.steps)))
        for change, stage in zip(self.change, self.stages[1:], strict=True):
            x = stage(double(change(x), dims=(2,)))
        return self.out(leaky(x))


class ResNet1dDiscriminator(Discriminator):
    """The generator's mirror image; its last steps are read by a linear layer."""

    def __init__(
        self,
        sample_shape,
        *,
        width: int,
        max_width: int,
        blocks: int,
        expand: int,
        group_width: int,
        head: str = "identity",
        num_classes: int = 0,
    ):
        channels, self.steps, widths = _plan(sample_shape, width, max_width, head)
        super().__init__(widths[-1], num_classes)
        total = blocks * len(widths)
        # One-hot columns have one one, and other samples' channels numbers of about one each.
        self.unit = math.sqrt(channels) if head in DISTRIBUTIONS else 1.0
        self.stem = variance_preserving(Conv1d(channels, widths[0], 1, bias=False), gain=1.0)
        self.stages = nn.ModuleList(blocks_at(blocks, w, expand, group_width, total, Conv1d, _KERNEL) for w in widths)
        self.change = nn.ModuleList(change_of_width(a, b, Conv1d) for a, b in pairwise(widths))
        self.read = variance_preserving(nn.Linear(widths[-1] * self.steps, widths[-1]))

    def by_size(self) -> list[Stage]:
        return read_by_halving(self.steps << len(self.change), len(self.stages), "stem")

    def features(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 a probability of 0.999 is 1
            x = self.stem(x.to(self.stem.weight.dtype) * self.unit)
        for stage, change in zip(self.stages, self.change, strict=False):
            x = change(F.avg_pool1d(stage(x), 2))
        return leaky(self.read(leaky(self.stages[-1](x)).flatten(1)))


FAMILY = (ResNet1dGenerator, ResNet1dDiscriminator)
