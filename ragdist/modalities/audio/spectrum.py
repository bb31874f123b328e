"""Mel spectra of stored clips in decibels, which pictures, features and the classifier are made from."""

import math

import torch
from torch import Tensor

from ragdist.modalities.base import Form
from ragdist.networks import stft

_QUIETEST = -80  # dB of a sine of full scale
_FLOOR = 1e-5  # of a magnitude, far below
_KNEE = 700  # Hz from which the mel scale is logarithmic
_AT_A_TIME = 1 << 23  # samples of clips; their spectra take twenty times the memory


def decibels(clips: Tensor, form: Form, bands: int) -> Tensor:
    """Map clips int16 [n, C, T] to mel spectra [n, C, bands, frames], from -80 dB to 0 of a sine of full scale."""
    rate = form.spec["rate"]
    how = (window_of(rate, form.shape[1]), bands, 2 * _KNEE / rate, _FLOOR)
    parts = clips.split(max(_AT_A_TIME // math.prod(form.shape), 1))
    levels = torch.cat([stft.log_mel(part.float() / 32768, *how) for part in parts])
    return (levels * (20 / math.log(10))).clamp(_QUIETEST, 0)


def mono(clips: Tensor) -> Tensor:
    """Mix clips int16 [n, C, T] to one channel, int16 [n, 1, T]."""
    return clips if clips.shape[1] == 1 else clips.float().mean(1, keepdim=True).round().to(torch.int16)


def window_of(rate: int, length: int) -> int:
    """The window of a spectrum, a power of two of samples: 32 ms or the next longer one, no longer than most clips."""
    window = min(1 << max(round(rate * 0.032) - 1, 1).bit_length(), 1 << (length.bit_length() - 1))
    return max(window, stft.OVERLAP)
