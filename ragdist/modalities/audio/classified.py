"""What the data's classifier sees of clips: a mel spectrogram as a grey picture."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.modalities.audio.spectrum import decibels
from ragdist.modalities.base import Form

_BANDS, _FRAMES = 32, 32  # of a picture: its height, and most of its width
_SHIFT = 1 / 8  # of its width, by which training moves it at most
_LOUDER = 20  # of 255 levels, by which it makes it louder or quieter at most: 6 dB
SEES = f"mel spectra of {_BANDS} bands in {_FRAMES} frames, 80 dB"


def classified(samples: Tensor, form: Form) -> Tensor:
    """Map clips int16 [n, C, T] to uint8 [n, C, bands, frames]: 255 is a sine of full scale, 0 is 80 dB below."""
    levels = decibels(samples, form, _BANDS)
    frames = min(levels.shape[3], _FRAMES)
    levels = F.adaptive_avg_pool2d(levels, (_BANDS, frames))
    return ((levels / 80 + 1) * 255).round().byte()


def vary(pictures: Tensor, uniform: np.ndarray) -> Tensor:
    """Move pictures in time, with silence behind them, and make them louder or quieter; silence stays silence.

    No mirroring or stretching: words said backwards are none, and speakers differ by their bands.
    """
    frames = pictures.shape[3]
    draws = torch.from_numpy(uniform).float()
    most = int(frames * _SHIFT)
    moved = torch.arange(frames) - (draws[:, :1] * (2 * most + 1)).long() + most
    there = (moved >= 0) & (moved < frames)
    places = moved.clamp(0, frames - 1)[:, None, None, :].expand_as(pictures)
    pictures = pictures.gather(3, places) * there[:, None, None, :]
    louder = ((draws[:, 1:2] * 2 - 1) * _LOUDER).round()[:, :, None, None]
    return torch.where(pictures > 0, (pictures.float() + louder).clamp(0, 255), 0).byte()
