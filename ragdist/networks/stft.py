"""Short-time Fourier transforms of clips, differentiable as often as wanted, and their inverse.

Of two recordings of one word samples differ as much as of two words: their phases do. What is heard alike has nearly
equal log-mel spectra, in windows of several lengths (as vocoders are trained by: Kong et al. 2020, Lee et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

OVERLAP = 4  # frames that cover a sample, where nothing else is said: they are a quarter of a window apart
POINTS = (32, 8)  # windows of `points`: so manyth parts of a clip, some 32 and 128 ms of a second
SHORTEST = 16  # window of `points`
BANDS = 40  # of a log-mel spectrum
FLOOR = 1e-3  # of a magnitude, whose full scale is 1: -60 dB, below which nothing is told apart
KNEE = 700 / 8_000  # frequency, by the highest, from which the mel scale is logarithmic; as at 16 kHz


def points(clips: Tensor, pool: int) -> Tensor:
    """Map clips [B, C, T] to log-mel spectra in two windows, float32 [B, D], each averaged to at most ``pool`` frames.

    A distance counts each window alike: its values are divided by the square root of their number.
    """
    found = []
    for part in POINTS:
        window = max(1 << (clips.shape[2] // part).bit_length() >> 1, SHORTEST)
        bands = log_mel(clips, window, BANDS, overlap=2)  # that tells words apart as 4 do, in half the time
        frames = bands.shape[3]
        if frames > pool:
            bands = F.avg_pool1d(bands.flatten(1, 2), -(-frames // pool), ceil_mode=True, count_include_pad=False)
        flat = bands.flatten(1)
        found.append(flat / math.sqrt(flat.shape[1]))
    return torch.cat(found, 1)


def log_mel(
    clips: Tensor, window: int, bands: int, knee: float = KNEE, floor: float = FLOOR, overlap: int = OVERLAP
) -> Tensor:
    """Logarithms of magnitudes in mel bands, [B, C, bands, frames] of clips [B, C, T]; float32 in any autocast.

    Powers are averaged over a band and not magnitudes: |z| has no derivative at 0, and near it second ones without
    bounds, which gradient penalties would meet in every silence. See `transform` for the frames.
    """
    with torch.autocast(clips.device.type, enabled=False):
        clips = clips if clips.dtype == torch.float64 else clips.float()
        powers = transform(clips, window, overlap).square().flatten(-2)
        weights = _mel_of_pairs(window, bands, knee, powers.dtype, powers.device)
        return ((powers @ weights + floor * floor).log() * 0.5).transpose(2, 3)


def transform(clips: Tensor, window: int, overlap: int = OVERLAP) -> Tensor:
    """Fourier transforms of overlapping frames, [..., frames, window / 2 + 1, 2] of clips [..., T].

    ``overlap`` frames cover a sample: they are window / overlap apart. Real and imaginary parts, scaled so that a sine
    of full scale has the magnitude 1. The first frame's middle is the clip's first sample; around a clip there is
    silence and not its mirror image, so that an abrupt end is to be seen.
    """
    assert window % overlap == 0, (window, overlap)
    return _Transform.apply(clips, window, overlap)


class _Transform(torch.autograd.Function):
    """`transform`, and for its derivative of any order what PyTorch does in a transform of twice the size."""

    @staticmethod
    def forward(ctx, clips: Tensor, window: int, overlap: int) -> Tensor:
        ctx.window, ctx.overlap, ctx.length = window, overlap, clips.shape[-1]
        frames = F.pad(clips, (window // 2, window // 2)).unfold(-1, window, window // overlap)
        return torch.view_as_real(torch.fft.rfft(frames * _hann(window, clips.dtype, clips.device)))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Transposed.apply(gradient, ctx.window, ctx.overlap, ctx.length), None, None


class _Transposed(torch.autograd.Function):
    """The transposed linear map of `transform`: from gradients at spectra to those at clips of ``length``."""

    @staticmethod
    def forward(ctx, gradient: Tensor, window: int, overlap: int, length: int) -> Tensor:
        ctx.window, ctx.overlap = window, overlap
        # An inverse real transform counts all frequencies but the first and last twice, here each is there once.
        spectrum = torch.view_as_complex((gradient * 0.5).contiguous())
        spectrum[..., :: window // 2] *= 2
        frames = torch.fft.irfft(spectrum, n=window, norm="forward") * _hann(window, gradient.dtype, gradient.device)
        return overlap_add(frames, overlap)[..., window // 2 : window // 2 + length]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Transform.apply(gradient, ctx.window, ctx.overlap), None, None, None


def overlap_add(frames: Tensor, overlap: int = OVERLAP) -> Tensor:
    """Add up overlapping frames [..., frames, window]: [..., (frames + overlap - 1) * window / overlap]."""
    window = frames.shape[-1]
    parts = frames.unflatten(-1, (overlap, window // overlap))  # part k of frame n lies at n + k
    return sum(F.pad(parts[..., k, :], (0, 0, k, overlap - 1 - k)) for k in range(overlap)).flatten(-2)


def inverse(size: Tensor, phase: Tensor, window: int, overlap: int = OVERLAP) -> Tensor:
    """Clips [B, C, frames * hop] of magnitudes and phases [B, C, frames, window / 2 + 1], by overlapping and adding.

    The inverse of what `transform` gives for such frames, if size and phase are of one clip. Phases are relative to a
    sine of the bin's own frequency: one that goes on has the same phase in all frames. The middles of the first and
    last frame are half a hop, window / overlap / 2, inside of the clip.
    """
    frames, hop = size.shape[2], window // overlap
    phase = phase + _turns(frames, window, overlap, size.device)
    spectrum = torch.complex(size * phase.cos(), size * phase.sin())
    shape, scale = _synthesis(frames, window, overlap, size.device)
    whole = overlap_add(torch.fft.irfft(spectrum, n=window) * shape, overlap) * scale
    first = (window - hop) // 2
    return whole[..., first : first + frames * hop]


# Constants, which no state_dict holds.


def _kept(make: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a function made of sizes, a type and a device; compiled code makes it anew."""
    # Outside of inference mode: what is made inside lets no gradient pass, ever after.
    kept = cache(torch.inference_mode(False)(make))
    return wraps(make)(lambda *of: make(*of) if torch.compiler.is_compiling() else kept(*of))


@_kept
def _hann(window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Hann's window, scaled so that a sine of full scale has the magnitude 1."""
    shape = torch.hann_window(window, periodic=True, dtype=torch.float64)
    return (shape * (2 / shape.sum())).to(device, dtype)


@_kept
def _turns(frames: int, window: int, overlap: int, device: torch.device) -> Tensor:
    """The phase of each bin's sine at the frames' beginnings, [frames, window / 2 + 1]: whole parts of a turn."""
    parts = torch.arange(frames).unsqueeze(1) * torch.arange(window // 2 + 1) % overlap
    return (parts * (2 * math.pi / overlap)).to(device, torch.float32)


@_kept
def _synthesis(frames: int, window: int, overlap: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What `inverse` multiplies frames by, [window], and their sum by, [(frames + overlap - 1) * window / overlap]."""
    shape = torch.hann_window(window, periodic=True, dtype=torch.float64)
    weights = overlap_add(shape.square().expand(frames, window), overlap).clamp(min=0.1)  # less is outside of the clip
    # `transform` multiplies by Hann's window times 2 / sum, the inverse by another Hann's window.
    return (shape * (shape.sum() / 2)).to(device, torch.float32), (1 / weights).to(device, torch.float32)


@_kept
def _mel_of_pairs(window: int, bands: int, knee: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`mel_weights` of squares of real and imaginary parts in turn, [window + 2, bands]."""
    return mel_weights(window, bands, knee).repeat_interleave(2, 0).to(device, dtype)


def mel_weights(window: int, bands: int, knee: float = KNEE) -> Tensor:
    """Weights [window / 2 + 1, bands], float64, of overlapping triangles, evenly spaced by log(1 + frequency / knee).

    Each sums up to 1, or is one frequency where the bands are narrower than those are apart. ``knee`` by the highest.
    """
    count = window // 2 + 1
    frequency = torch.linspace(0, 1, count, dtype=torch.float64)
    top = math.log1p(1 / knee)
    edges = torch.expm1(torch.linspace(0, top, bands + 2, dtype=torch.float64)) * knee
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    at = frequency.unsqueeze(1)
    weights = torch.minimum((at - low) / (middle - low), (high - at) / (high - middle)).clamp(min=0)
    nearest = F.one_hot((middle * (count - 1)).round().long(), count).double().T
    weights = torch.where(weights.sum(0) > 0.5, weights, nearest)
    return weights / weights.sum(0)
