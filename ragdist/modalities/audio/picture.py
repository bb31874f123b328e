"""The picture of a clip: its waveform above its mel spectrogram, both over the same time."""

from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities.audio.spectrum import decibels, mono
from ragdist.modalities.base import Form

WIDTH, WAVE, SPECTRUM = 144, 36, 96  # pixels
_BANDS = 48
_RANGE, _SHADES = 60, 31  # dB below a clip's loudest that are seen, in steps of 2: few colours make small files
_INK, _PAPER, _AXIS = (51, 102, 170), (246, 246, 248), (214, 214, 220)
# From black over violet and orange to a light yellow: of rising lightness, so that louder is lighter in grey, too.
_STOPS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


def tiles(clips: Tensor, form: Form) -> list[Image.Image]:
    """Picture clips int16 [n, C, T]: of several channels the mean, each as high as its own loudest part allows."""
    found = []
    for part in mono(clips.cpu()).split(64):
        spectra = _spectra(decibels(part, form, _BANDS)[:, 0])
        found += [_tile(clip, spectrum) for clip, spectrum in zip(part[:, 0].numpy(), spectra, strict=True)]
    return found


def _tile(wave: np.ndarray, spectrum: np.ndarray) -> Image.Image:
    return Image.fromarray(np.concatenate([_waveform(wave / 32768), spectrum]))


def _waveform(wave: np.ndarray) -> np.ndarray:
    """uint8 [WAVE, WIDTH, 3]: in each column a line from the least to the largest value of full scale."""
    edges = np.linspace(0, len(wave), WIDTH + 1).astype(int)
    parts = [wave[first : max(last, first + 1)] for first, last in pairwise(edges)]
    low, high = np.array([(part.min(), part.max()) for part in parts]).T
    rows = 1 - np.arange(WAVE)[:, None] * 2 / (WAVE - 1)
    half = 1 / WAVE
    picture = np.full((WAVE, WIDTH, 3), _PAPER, np.uint8)
    picture[WAVE // 2] = _AXIS
    picture[(rows <= high + half) & (rows >= low - half)] = _INK
    return picture


def _spectra(levels: Tensor) -> np.ndarray:
    """uint8 [n, SPECTRUM, WIDTH, 3] of levels in dB [n, bands, frames]: low frequencies are below."""
    shares = ((levels - levels.amax((1, 2), keepdim=True)) / _RANGE + 1).clamp(0, 1).flip(1)
    shares = torch.where(levels.amax((1, 2), keepdim=True) <= levels.amin((1, 2), keepdim=True), 0, shares)
    sized = torch.nn.functional.interpolate(shares[:, None], (SPECTRUM, WIDTH), mode="bilinear", align_corners=False)
    return _colours()[(sized[:, 0] * (_SHADES - 1)).round().long().numpy()]


def _colours() -> np.ndarray:
    """The colour of each shade, uint8 [_SHADES, 3]."""
    stops, place = np.array(_STOPS, np.float64), np.linspace(0, len(_STOPS) - 1, _SHADES)
    return np.stack([np.interp(place, range(len(stops)), stops[:, i]) for i in range(3)], 1).round().astype(np.uint8)
