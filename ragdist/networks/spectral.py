"""Residual networks for sounds: G makes a spectrum and inverts it, D reads the waveform and a spectrum.

The blocks are those of `resnet` in one dimension. A waveform made sample by sample has the buzz of its strides; made as
a short-time Fourier transform (as in Vocos, Siuzdak 2023) each frame is a sum of sines, and the network runs at a
sixty-fourth of the rate. D's two sides, as multi-resolution discriminators of vocoders have (Kong et al. 2020), share
one logit: the spectrum tells what is heard, the waveform how its phases fit together.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ragdist.networks import stft
from ragdist.networks.base import Discriminator, Generator, leaky, lengths, variance_preserving
from ragdist.networks.conv import Conv1d
from ragdist.networks.resnet import Block, double

_WINDOW, _HOP = 256, 64  # of the spectra, samples
_BINS = _WINDOW // 2 + 1
_SHORTEST = 4  # frames at which G begins, and D ends
_KERNEL = 5
_QUIET = math.log(1e-2)  # magnitude that G begins with: speech at -20 dB
_LOUDEST = math.log(4.0)
_MIDDLE, _SPREAD = -4.0, 2.0  # of logarithms of magnitudes, which D sees in units
_STRIDES, _RAW_KERNEL, _RAW_LENGTH = 4, 25, 32  # of D's side of the waveform, which ends at so many steps


def _plan(sample_shape, width: int, max_width: int) -> tuple[int, list[int]]:
    """Channels of a sample, and the widths at all frames, at half of them, ... down to 4."""
    channels, length = lengths(sample_shape, "spectral", least=2 * _SHORTEST * _HOP)
    halvings = int(math.log2(length // _HOP // _SHORTEST))
    return channels, [min(width << i, max_width) for i in range(halvings + 1)]


def _change(before: int, after: int) -> nn.Module:
    return variance_preserving(Conv1d(before, after, 1, bias=False), gain=1.0) if before != after else nn.Identity()


def _blocks(count: int, width: int, expand: int, group_width: int, total: int) -> nn.Sequential:
    if width % min(group_width, width):
        raise ValueError(f"network.group_width {group_width} does not divide the width {width}: use a power of two")
    return nn.Sequential(
        *(
            Block(width, expand=expand, group_width=group_width, num_blocks=total, conv=Conv1d, kernel=_KERNEL)
            for _ in range(count)
        )
    )


class SpectralGenerator(Generator):
    """From 4 frames, doubled to all of them, to magnitudes and phases, and an inverse Fourier transform."""

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
    ):
        super().__init__(z_dim, num_classes)
        self.channels, widths = _plan(sample_shape, width, max_width)
        widths = widths[::-1]
        total = blocks * len(widths)
        self.base = variance_preserving(nn.Linear(self.code_dim, widths[0] * _SHORTEST), gain=1.0)
        self.change = nn.ModuleList(_change(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(_blocks(blocks, w, expand, group_width, total) for w in widths)
        self.out = variance_preserving(nn.Conv1d(widths[-1], 2 * _BINS * self.channels, 1), gain=1.0)

    def synthesize(self, code: Tensor) -> Tensor:
        x = self.stages[0](self.base(code).unflatten(1, (-1, _SHORTEST)))
        for change, stage in zip(self.change, self.stages[1:], strict=True):
            x = stage(double(change(x), dims=(2,)))
        size, phase = self.out(x).float().unflatten(1, (self.channels, 2, _BINS)).unbind(2)
        size = (size + _QUIET).clamp(max=_LOUDEST).exp()
        return stft.inverse(size.transpose(2, 3), phase.transpose(2, 3), _WINDOW)


class SpectralDiscriminator(Discriminator):
    """A residual network over a log-mel spectrum, a strided one over the waveform, one logit of both."""

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
        raw = _raw_widths(sample_shape[1], width)
        super().__init__(2 * widths[-1], num_classes)
        total = blocks * len(widths)
        self.stem = variance_preserving(Conv1d(channels * stft.BANDS, widths[0], 1), gain=1.0)
        self.stages = nn.ModuleList(_blocks(blocks, w, expand, group_width, total) for w in widths)
        self.change = nn.ModuleList(_change(a, b) for a, b in pairwise(widths))
        self.read = variance_preserving(Conv1d(widths[-1], widths[-1], _SHORTEST, groups=widths[-1]), gain=1.0)
        self.raw = nn.ModuleList(
            variance_preserving(Conv1d(a, b, _RAW_KERNEL, stride=_STRIDES, padding=_RAW_KERNEL // 2))
            for a, b in pairwise([channels, *raw])
        )
        steps = sample_shape[1] // _STRIDES ** len(raw)
        self.raw_read = variance_preserving(nn.Linear(raw[-1] * steps, widths[-1]))

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self._of_spectrum(x), self._of_waveform(x)], 1)

    def _of_spectrum(self, x: Tensor) -> Tensor:
        bands = stft.log_mel(x, _WINDOW, stft.BANDS)[..., : x.shape[2] // _HOP]
        x = self.stem(((bands - _MIDDLE) / _SPREAD).flatten(1, 2))
        for stage, change in zip(self.stages, self.change, strict=False):
            x = change(F.avg_pool1d(stage(x), 2))
        return leaky(self.read(self.stages[-1](x))).flatten(1)

    def _of_waveform(self, x: Tensor) -> Tensor:
        for layer in self.raw:
            x = leaky(layer(x))
        return leaky(self.raw_read(x.flatten(1)))


def _raw_widths(length: int, width: int) -> list[int]:
    """Widths of the waveform's side, from a quarter of its length to some 32 steps."""
    count = max(int(math.log(length / _RAW_LENGTH, _STRIDES)), 1)
    return [max(width >> 2, 1) << i for i in range(count)]


FAMILY = (SpectralGenerator, SpectralDiscriminator)
