"""The picture of a clip: its waveform above its spectrogram."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities.audio.features import knee_of, window_of
from ragdist.networks import stft

WIDTH, WAVE, SPECTRUM = 128, 32, 96  # pixels
_QUIETEST = -60  # dB that are black
# From black over violet and orange to a light yellow: of rising lightness, so that louder is lighter in grey, too.
_STOPS = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], np.float64
)


def tile(clip: Tensor, rate: int) -> Image.Image:
    """Picture a clip int16 [C, T]: of several channels the mean."""
    mono = clip.float().mean(0) / 32768
    picture = Image.new("RGB", (WIDTH, WAVE + SPECTRUM), "white")
    picture.paste(Image.fromarray(_waveform(mono.numpy())), (0, 0))
    picture.paste(Image.fromarray(_spectrogram(mono, rate)), (0, WAVE))
    return picture


def _waveform(mono: np.ndarray) -> np.ndarray:
    """uint8 [WAVE, WIDTH, 3]: in each column a line from the least to the largest value."""
    parts = np.array_split(mono, WIDTH)
    low, high = np.array([(part.min(), part.max()) for part in parts]).T
    rows = (1 - np.arange(WAVE)[:, None] * 2 / (WAVE - 1)) * max(1.0, np.abs(mono).max())
    half = 1 / WAVE
    inside = (rows <= high + half) & (rows >= low - half)
    return np.where(inside[..., None], np.array((51, 102, 170)), np.array((244, 244, 244))).astype(np.uint8)


def _spectrogram(mono: Tensor, rate: int) -> np.ndarray:
    """uint8 [SPECTRUM, WIDTH, 3]: low frequencies below, mel bands, -60 to 0 dB of the loudest."""
    bands = stft.log_mel(mono.view(1, 1, -1), window_of(rate, len(mono)), 64, knee_of(rate), floor=1e-5)[0, 0]
    decibels = bands * (20 / np.log(10))
    shares = ((decibels - decibels.max()) / -_QUIETEST + 1).clamp(0, 1).flip(0)
    sized = torch.nn.functional.interpolate(shares[None, None], (SPECTRUM, WIDTH), mode="bilinear", align_corners=False)
    place = sized[0, 0].numpy() * (len(_STOPS) - 1)
    colours = [np.interp(place, range(len(_STOPS)), _STOPS[:, i]) for i in range(3)]
    return np.stack(colours, 2).round().astype(np.uint8)
