"""Residual networks for sounds: G makes a spectrum and inverts it, D reads the waveform and a log-mel spectrum.

The blocks are those of `resnet` in one dimension. A waveform made sample by sample has the buzz of its strides; made as
a short-time Fourier transform (as in Vocos, Siuzdak 2023) each frame is a sum of sines, and the network runs at a small
part of the rate. D is told what is heard by the spectrum, and how its phases fit together by the waveform itself.
"""

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from ragdist.networks import stft
from ragdist.networks.base import (
    Discriminator,
    Generator,
    Stage,
    leaky,
    lengths,
    made_by_doubling,
    read_by_halving,
    variance_preserving,
)
from ragdist.networks.conv import Conv1d
from ragdist.networks.resnet import blocks_at, change_of_width, double

_SHORTEST = 4  # frames at which G begins, and D ends
_FRAMES = 64  # of a clip, where the window is chosen by its length
_WINDOWS = (16, 2048)  # of those that are chosen
_OVERLAP = 2  # frames that cover a sample: with as many numbers as samples, nearly any spectrum is one of a clip
_KERNEL = 5
_QUIET = math.log(1e-2)  # magnitude that G begins with: speech at -20 dB
_LOUDEST = math.log(4.0)
_FAINT, _SLOPE = math.log(1e-4), 0.1  # below, logarithms fall more slowly: from silence no gradient would lead back
_MIDDLE, _SPREAD = -4.0, 2.0  # of logarithms of magnitudes, which D sees in units
_LOUDNESS = 0.25  # of samples, likewise


def _plan(sample_shape: tuple[int, ...], width: int, max_width: int, window: int) -> tuple[int, int, list[int]]:
    """Channels of a sample, the window, and the widths at all frames, at half of them, ... down to 4."""
    channels, length = lengths(sample_shape, "spectral", least=_WINDOWS[0] * _FRAMES // _OVERLAP)
    window = window or min(max(length * _OVERLAP // _FRAMES, _WINDOWS[0]), _WINDOWS[1])
    frames = length * _OVERLAP // window
    if window & (window - 1) or window < _WINDOWS[0] or frames < 2 * _SHORTEST:
        raise ValueError(
            f"network.window {window} does not suit clips of {length:,} samples: give a power of two from "
            f"{_WINDOWS[0]} to {length * _OVERLAP // (2 * _SHORTEST):,}, or 0"
        )
    halvings = int(math.log2(frames // _SHORTEST))
    return channels, window, [min(width << i, max_width) for i in range(halvings + 1)]


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
        window: int,
        num_classes: int = 0,
        codes: int = 0,
    ):
        super().__init__(z_dim, num_classes, codes)
        self.channels, self.window, widths = _plan(sample_shape, width, max_width, window)
        widths = widths[::-1]
        total = blocks * len(widths)
        self.base = variance_preserving(nn.Linear(self.code_dim, widths[0] * _SHORTEST), gain=1.0)
        self.change = nn.ModuleList(change_of_width(a, b, Conv1d) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(blocks_at(blocks, w, expand, group_width, total, Conv1d, _KERNEL) for w in widths)
        bins = self.window // 2 + 1
        self.out = variance_preserving(nn.Conv1d(widths[-1], 2 * bins * self.channels, 1), gain=1.0)

    def by_size(self) -> list[Stage]:
        return made_by_doubling(_SHORTEST, len(self.stages))

    def synthesize(self, code: Tensor) -> Tensor:
        x = self.stages[0](self.base(code).unflatten(1, (-1, _SHORTEST)))
        for change, stage in zip(self.change, self.stages[1:], strict=True):
            x = stage(double(change(x), dims=(2,)))
        size, phase = self.out(x).float().unflatten(1, (self.channels, 2, -1)).unbind(2)
        size = F.leaky_relu(size + (_QUIET - _FAINT), _SLOPE) + _FAINT
        size = size.clamp(max=_LOUDEST).exp()
        return stft.inverse(size.transpose(2, 3), phase.transpose(2, 3), self.window, _OVERLAP)


class SpectralDiscriminator(Discriminator):
    """A residual network over what a log-mel spectrum and the waveform say of each frame."""

    def __init__(
        self,
        sample_shape,
        *,
        width: int,
        max_width: int,
        blocks: int,
        expand: int,
        group_width: int,
        window: int,
        num_classes: int = 0,
    ):
        channels, self.window, widths = _plan(sample_shape, width, max_width, window)
        super().__init__(widths[-1], num_classes)
        self.hop = self.window // _OVERLAP
        self.bands = min(stft.BANDS, self.hop)
        total = blocks * len(widths)
        self.of_spectrum = variance_preserving(Conv1d(channels * self.bands, widths[0], 1), gain=math.sqrt(0.5))
        self.of_waveform = variance_preserving(
            Conv1d(channels * self.hop, widths[0], 3, padding=1, bias=False), gain=math.sqrt(0.5)
        )
        self.stages = nn.ModuleList(blocks_at(blocks, w, expand, group_width, total, Conv1d, _KERNEL) for w in widths)
        self.change = nn.ModuleList(change_of_width(a, b, Conv1d) for a, b in pairwise(widths))
        self.read = variance_preserving(Conv1d(widths[-1], widths[-1], _SHORTEST, groups=widths[-1]), gain=1.0)

    def by_size(self) -> list[Stage]:
        return read_by_halving(_SHORTEST << len(self.change), len(self.stages), "of_spectrum", "of_waveform")

    def features(self, x: Tensor) -> Tensor:
        frames = x.shape[2] // self.hop
        # A spectrum's frames have their middles between those of the waveform, beginning with the first sample.
        bands = stft.log_mel(x, self.window, self.bands, overlap=_OVERLAP)[..., :frames]
        samples = x.unflatten(2, (frames, self.hop)).transpose(2, 3).flatten(1, 2)
        x = self.of_spectrum(((bands - _MIDDLE) / _SPREAD).flatten(1, 2)) + self.of_waveform(samples / _LOUDNESS)
        for stage, change in zip(self.stages, self.change, strict=False):
            x = change(F.avg_pool1d(stage(x), 2))
        return leaky(self.read(self.stages[-1](x))).flatten(1)


FAMILY = (SpectralGenerator, SpectralDiscriminator)
