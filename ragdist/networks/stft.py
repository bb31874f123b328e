"""Short-time Fourier transforms of clips, differentiable twice, and their inverse.

Of two recordings of one word samples differ as much as of two words: their phases do. What is heard alike has nearly
equal log-mel spectra, in windows of several lengths (as vocoders are trained by: Kong et al. 2020, Lee et al. 2023).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOWS = (256, 1024)  # of `points`, in samples
BANDS = 40  # of a log-mel spectrum
FLOOR = 1e-3  # of a magnitude, whose full scale is 1: -60 dB, below which nothing is told apart
KNEE = 700 / 8_000  # frequency, by the highest, from which the mel scale is logarithmic; as at 16 kHz


def points(clips: Tensor, pool: int) -> Tensor:
    """Map clips [B, C, T] to log-mel spectra of several windows, float32 [B, D], each of at most ``pool`` frames.

    A distance counts each window alike: its values are divided by the square root of their number.
    """
    found = []
    with torch.autocast(clips.device.type, enabled=False):
        for window in WINDOWS:
            if window > clips.shape[2]:
                continue
            bands = log_mel(clips.float(), window, BANDS)
            frames = bands.shape[3]
            if frames > pool:
                bands = F.avg_pool1d(bands.flatten(1, 2), -(-frames // pool), ceil_mode=True, count_include_pad=False)
            flat = bands.flatten(1)
            found.append(flat / math.sqrt(flat.shape[1]))
    return torch.cat(found or [clips.float().flatten(1)], 1)


def log_mel(clips: Tensor, window: int, bands: int, knee: float = KNEE, floor: float = FLOOR) -> Tensor:
    """Logarithms of mel spectra, [B, C, bands, frames] of clips [B, C, T]; frames are a quarter of a window apart."""
    size = magnitudes(clips, window)
    mel = size @ mel_weights(window, bands, knee).to(size.device, size.dtype)
    return (mel + floor).log().transpose(2, 3)


def magnitudes(clips: Tensor, window: int) -> Tensor:
    """Magnitudes of a short-time Fourier transform, [B, C, frames, window / 2 + 1]; of a sine of full scale 1."""
    hop = window // 4
    # Silence around, not a mirror image: a clip may begin and end abruptly, which is to be seen.
    frames = F.pad(clips, (window // 2, window // 2)).unfold(2, window, hop)
    shape = hann(window).to(clips.device, clips.dtype)
    spectrum = torch.view_as_real(torch.fft.rfft(frames * shape))
    # |z| has no derivative at 0, and padded clips are exactly that.
    return (spectrum.square().sum(4) + (FLOOR * FLOOR * 1e-4)).sqrt()


def inverse(size: Tensor, phase: Tensor, window: int) -> Tensor:
    """Clips [B, C, frames * hop] of magnitudes and phases [B, C, frames, window / 2 + 1], by overlapping and adding.

    Phases are relative to a sine of the bin's own frequency: one that goes on has the same phase in all frames.
    """
    hop = window // 4
    frames, bins = size.shape[2:]
    turns = torch.arange(frames, device=size.device).unsqueeze(1) * torch.arange(bins, device=size.device) % 4
    phase = phase + turns * (math.pi / 2)
    spectrum = torch.complex(size * phase.cos(), size * phase.sin())
    shape = torch.hann_window(window, device=size.device)
    # Of a sine of magnitude 1 the transform is half the window's sum.
    waves = torch.fft.irfft(spectrum, n=window) * (shape * (window / 2))
    parts = waves.unflatten(3, (4, hop))  # hop k of frame n lies at n + k
    total = sum(F.pad(parts[..., k, :], (0, 0, k, 3 - k)) for k in range(4))
    weight = shape.square().view(4, hop)
    weights = sum(F.pad(weight[k].expand(frames, hop), (0, 0, k, 3 - k)) for k in range(4))
    whole = (total / weights.clamp(min=0.1)).flatten(2)
    first = (window - hop) // 2  # the middles of the first and last frame are half a hop inside of the clip
    return whole[..., first : first + frames * hop]


@cache
def hann(window: int) -> Tensor:
    """Hann's window, scaled so that a sine of full scale has the magnitude 1."""
    shape = torch.hann_window(window, periodic=True, dtype=torch.float64)
    return (shape * (2 / shape.sum())).float()


@cache
def mel_weights(window: int, bands: int, knee: float = KNEE) -> Tensor:
    """Weights [window / 2 + 1, bands] of overlapping triangles, evenly spaced by log(1 + frequency / knee).

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
    return (weights / weights.sum(0)).float()
