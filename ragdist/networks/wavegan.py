"""WaveGAN (Donahue et al. 2019): DCGAN in one dimension, long kernels with a stride of four; the reference for sounds.

Without layers that mix samples, as in `dcgan`, and without phase shuffle, whose one draw a batch does: G normalizes the
feature vector of each step instead, D has no normalization.
"""

from itertools import pairwise

from torch import Tensor, nn

from ragdist.networks.base import BASE, Discriminator, Generator, Stage, leaky, lengths, variance_preserving
from ragdist.networks.conv import Conv1d
from ragdist.networks.dcgan import normalize

_KERNEL, _STRIDE, _SHORTEST = 25, 4, 16


def _plan(sample_shape: tuple[int, ...], width: int, max_width: int) -> tuple[int, int, list[int]]:
    """Channels of a sample, its steps at the short end, and the widths from the full length down to there."""
    channels, length = lengths(sample_shape, "wavegan", least=4 * _SHORTEST)
    stages = 0
    while length >= _STRIDE * _SHORTEST:
        length, stages = length // _STRIDE, stages + 1
    return channels, length, [min(width << i, max_width) for i in range(stages)]


class WaveGANGenerator(Generator):
    """A linear layer to 16 steps (or 32), then a transposed convolution for each quadrupling of the length."""

    def __init__(self, sample_shape, *, z_dim: int, width: int, max_width: int, num_classes: int = 0, codes: int = 0):
        super().__init__(z_dim, num_classes, codes)
        channels, self.steps, widths = _plan(sample_shape, width, max_width)
        widths = widths[::-1]
        self.base = variance_preserving(nn.Linear(self.code_dim, widths[0] * self.steps))
        self.up = nn.ModuleList(
            variance_preserving(_up(before, after), gain=1.0 if last else None)
            for before, after, last in zip(
                widths, [*widths[1:], channels], [False] * (len(widths) - 1) + [True], strict=True
            )
        )

    def by_size(self) -> list[Stage]:
        last = len(self.up) - 1
        sizes = [self.steps * _STRIDE**number for number in range(len(self.up))]
        ups = [Stage(size, {"out" if i == last else "up": f"up.{i}"}) for i, size in enumerate(sizes)]
        return [Stage(self.steps, {BASE: "base"}), *ups]

    def synthesize(self, code: Tensor) -> Tensor:
        x = leaky(normalize(self.base(code).unflatten(1, (-1, self.steps))))
        *up, last = self.up
        for layer in up:
            x = leaky(normalize(layer(x)))
        return last(x)


class WaveGANDiscriminator(Discriminator):
    """A strided convolution for each quartering of the length, then a linear layer."""

    def __init__(self, sample_shape, *, width: int, max_width: int, num_classes: int = 0):
        channels, self.steps, widths = _plan(sample_shape, width, max_width)
        super().__init__(widths[-1] * self.steps, num_classes)
        self.down = nn.ModuleList(
            variance_preserving(Conv1d(before, after, _KERNEL, stride=_STRIDE, padding=_KERNEL // 2))
            for before, after in pairwise([channels, *widths])
        )

    def by_size(self) -> list[Stage]:
        sizes = [self.steps * _STRIDE**number for number in range(len(self.down), 0, -1)]
        return [Stage(size, {"down" if i else "stem": f"down.{i}"}) for i, size in enumerate(sizes)]

    def features(self, x: Tensor) -> Tensor:
        for down in self.down:
            x = leaky(down(x))
        return x.flatten(1)


def _up(before: int, after: int) -> nn.ConvTranspose1d:
    return nn.ConvTranspose1d(before, after, _KERNEL, stride=_STRIDE, padding=_KERNEL // 2 - 1, output_padding=1)


FAMILY = (WaveGANGenerator, WaveGANDiscriminator)
