"""Features of clips that need no network and no labels: what is loud when, in which band."""

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.metrics.extractor import Extractor, Features
from ragdist.networks import stft

_BANDS, _CELLS = 32, 8


class LogMel(Extractor):
    """Mean logarithms of mel bands in eight parts of the clip, and their deviations over all of it.

    It tells a hiss from a vowel and a beginning from an end, and forgives small shifts. 288 numbers, which some thousand
    samples determine; channels are mixed.
    """

    name = "log_mel"

    def __init__(self, shape: tuple[int, ...], rate: int):
        self.window = window_of(rate, shape[1])
        self.dim = _BANDS * (_CELLS + 1)
        self.resizing = f"mel spectra of {self.window} samples, in {_CELLS} parts"
        formula = f"log_mel 1: window {self.window} of {shape} at {rate}, {_BANDS} bands, {_CELLS} cells, deviation"
        self.sha256 = hashlib.sha256(formula.encode()).hexdigest()
        self.about = {}
        self.knee = knee_of(rate)

    def __call__(self, clips: Tensor) -> tuple[Tensor, None]:
        mono = clips.float().mean(1, keepdim=True) / 32768
        bands = stft.log_mel(mono, self.window, _BANDS, self.knee)[:, 0]
        means = F.adaptive_avg_pool1d(bands, _CELLS).flatten(1)
        return torch.cat([means, bands.std(2)], 1), None


def window_of(rate: int, length: int) -> int:
    """The window of a spectrum, a power of two of samples: 32 ms or the next longer one, and no longer than a clip."""
    return min(1 << max(round(rate * 0.032) - 1, 1).bit_length(), 1 << (length.bit_length() - 1))


def knee_of(rate: int) -> float:
    """The mel scale's knee of 700 Hz, by the highest frequency."""
    return 1400 / rate


LOG_MEL = Features(lambda source: LogMel(source.shape, source.spec["rate"]))
