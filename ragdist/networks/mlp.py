"""Fully connected networks, for samples of any shape."""

import math
from itertools import pairwise

from torch import Tensor, nn

from ragdist.networks.base import BASE, Discriminator, Generator, Stage, leaky, variance_preserving


class _Leaky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return leaky(x)


def _layers(widths: list[int]) -> nn.Sequential:
    layers = []
    for before, after in pairwise(widths):
        layers += [variance_preserving(nn.Linear(before, after)), _Leaky()]
    return nn.Sequential(*layers)


def _linear(body: nn.Sequential) -> list[str]:
    return [f"body.{number}" for number, layer in enumerate(body) if isinstance(layer, nn.Linear)]


class MLPGenerator(Generator):
    """``depth`` hidden layers, each twice as wide as the one before, the last ``width`` wide."""

    def __init__(
        self, sample_shape: tuple[int, ...], *, z_dim: int, width: int, depth: int, num_classes: int = 0, codes: int = 0
    ):
        super().__init__(z_dim, num_classes, codes)
        self.sample_shape = tuple(sample_shape)
        widths = [max(width >> i, 1) for i in reversed(range(depth))]
        self.body = _layers([self.code_dim, *widths])
        self.out = variance_preserving(nn.Linear(width, math.prod(sample_shape)), gain=1.0)

    def by_size(self) -> list[Stage]:
        first, *others = _linear(self.body)
        return [Stage(0, {BASE: first}), *(Stage(0, {name: name}) for name in others)]

    def synthesize(self, code: Tensor) -> Tensor:
        return self.out(self.body(code)).unflatten(1, self.sample_shape)


class MLPDiscriminator(Discriminator):
    """The generator's mirror image: ``depth`` hidden layers, the first ``width`` wide, each then half as wide."""

    def __init__(self, sample_shape: tuple[int, ...], *, width: int, depth: int, num_classes: int = 0):
        widths = [max(width >> i, 1) for i in range(depth)]
        super().__init__(widths[-1], num_classes)
        self.body = _layers([math.prod(sample_shape), *widths])

    def by_size(self) -> list[Stage]:
        return [Stage(0, {name: name}) for name in _linear(self.body)]

    def features(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(1))


FAMILY = (MLPGenerator, MLPDiscriminator)
