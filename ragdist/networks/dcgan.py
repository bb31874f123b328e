"""DCGAN (Radford et al. 2016) without layers that mix samples.

The original's batch normalization makes a sample depend on its batch, and a run on its number of
workers. G normalizes each pixel's feature vector instead (Karras et al. 2018); D has no normalization
and relies on its initialization.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ragdist.networks.base import BASE, Discriminator, Generator, Stage, leaky, stages, variance_preserving
from ragdist.networks.conv import Conv2d


def _widths(width: int, doublings: int, max_width: int) -> list[int]:
    """Channels at the full size, at half of it, ... down to 4x4: doubling, up to ``max_width``."""
    return [min(width << i, max_width) for i in range(doublings + 1)]


def normalize(x: Tensor) -> Tensor:
    """Scale the feature vector of each pixel, or step, to a mean square of 1."""
    # To the type of x: under autocast a GPU takes these functions in float32, and the product would stay it.
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8).to(x.dtype)


class DCGANGenerator(Generator):
    """A linear layer to 4x4, then a transposed convolution for each doubling of the size."""

    def __init__(self, sample_shape, *, z_dim: int, width: int, max_width: int, num_classes: int = 0, codes: int = 0):
        super().__init__(z_dim, num_classes, codes)
        channels, doublings = stages(sample_shape, "dcgan")
        widths = _widths(width, doublings, max_width)[::-1]
        self.base = variance_preserving(nn.Linear(self.code_dim, widths[0] * 16))
        self.up = nn.ModuleList(
            variance_preserving(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            for before, after in pairwise(widths)
        )
        self.out = variance_preserving(nn.Conv2d(widths[-1], channels, 3, padding=1), gain=1.0)

    def by_size(self) -> list[Stage]:
        ups = [Stage(4 << number, {"up": f"up.{number}"}) for number in range(len(self.up))]
        return [Stage(4, {BASE: "base"}), *ups, Stage(4 << len(self.up), {"out": "out"})]

    def synthesize(self, code: Tensor) -> Tensor:
        x = self.base(code).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        x = leaky(normalize(x))
        for up in self.up:
            x = leaky(normalize(up(x)))
        return self.out(x)


class DCGANDiscriminator(Discriminator):
    """A convolution, then a strided one for each halving of the size down to 4x4."""

    def __init__(self, sample_shape, *, width: int, max_width: int, num_classes: int = 0):
        channels, doublings = stages(sample_shape, "dcgan")
        widths = _widths(width, doublings, max_width)
        super().__init__(widths[-1] * 16, num_classes)
        self.stem = variance_preserving(Conv2d(channels, widths[0], 3, padding=1), gain=1.0)
        self.down = nn.ModuleList(
            variance_preserving(Conv2d(before, after, 4, stride=2, padding=1)) for before, after in pairwise(widths)
        )

    def by_size(self) -> list[Stage]:
        full = 4 << len(self.down)
        downs = [Stage(full >> number, {"down": f"down.{number}"}) for number in range(len(self.down))]
        return [Stage(full, {"stem": "stem"}), *downs]

    def features(self, x: Tensor) -> Tensor:
        x = leaky(self.stem(x.contiguous(memory_format=torch.channels_last)))
        for down in self.down:
            x = leaky(down(x))
        return x.flatten(1)


FAMILY = (DCGANGenerator, DCGANDiscriminator)
