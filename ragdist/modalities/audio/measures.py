"""Listening by numbers: what is wrong with a clip whatever it says."""

import torch
from torch import Tensor

from ragdist.config.evaluation import METRICS
from ragdist.metrics.measure import Figure, Material, Measure, Neighbours, Result

_FULL = 32_767  # of int16: two such samples in a row are a wave cut off
_SILENT = 10 ** (-50 / 20) * 32_768  # peak, above the noise that 8 bits leave
_END = 0.005  # seconds
_MOST = 0.99  # share of the data's clips that are no worse
_HEARD = 1e-3  # power of an end by that of all, -30 dB: less is no click
_LEAST = 1e-9  # power


def _faults(material: Material, found: Neighbours, result: Result) -> None:
    fakes, reals = material.fake_samples, material.real_samples
    rate = material.form.spec["rate"]
    (ends, steps), (real_ends, real_steps) = (_loudness(clips, rate) for clips in (fakes, reals))
    loudest, largest = real_ends.quantile(_MOST).clamp(min=_HEARD), real_steps.quantile(_MOST)
    of = f"{len(fakes):,} + {len(reals):,} clips"
    for name, title, value, ideal in (
        ("clipped", "clips cut off at full scale", _clipped(fakes), _clipped(reals)),
        ("silent", "silent clips", _silent(fakes), _silent(reals)),
        ("loud_ends", "clips with a louder end than 99% of the data's", ends > loudest, real_ends > loudest),
        ("clicks", "clips with a larger step than 99% of the data's", steps > largest, real_steps > largest),
        ("end_level", "louder end (5 ms) by all of a clip, dB, median", _decibels(ends), _decibels(real_ends)),
    ):
        figure, best = (float(x.double().mean()) for x in (value, ideal))
        result.figures.append(Figure(name, title, figure, None, f"{best:.2g}", of))


def _clipped(clips: Tensor) -> Tensor:
    """Which clips int16 [n, C, T] have two samples at full scale in a row, bool [n]."""
    full = (clips >= _FULL) | (clips <= -_FULL)
    return (full[..., 1:] & full[..., :-1]).flatten(1).any(1)


def _silent(clips: Tensor) -> Tensor:
    low, high = clips.flatten(1).aminmax(dim=1)
    return torch.maximum(high.int(), -low.int()) < _SILENT


def _loudness(clips: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Of clips int16 [n, C, T]: the power of the louder end by that of all, and the largest step by the peak, [n]."""
    ends, steps = [], []
    count = min(max(round(rate * _END), 1), clips.shape[2])
    for part in clips.split(256):
        samples = part.float() / 32_768
        power = samples.square().mean(1)
        both = torch.maximum(power[:, :count].mean(1), power[:, -count:].mean(1))
        ends.append(both / power.mean(1).clamp(min=_LEAST))
        peak = samples.abs().amax((1, 2)).clamp(min=_LEAST)
        steps.append(samples.diff(dim=2, prepend=samples[..., :1]).abs().amax((1, 2)) / peak)
    return torch.cat(ends), torch.cat(steps)


def _decibels(power: Tensor) -> Tensor:
    return power.quantile(0.5).clamp(min=1e-6).log10() * 10


CLIP_FAULTS = Measure(_faults, METRICS["clip_faults"][0], of_samples=True)
