"""Listening by numbers: what is wrong with a clip whatever it says."""

import torch
from torch import Tensor

from ragdist.config.evaluation import METRICS
from ragdist.metrics.measure import Figure, Material, Measure, Neighbours, Result

_END = 128  # a clip's first, and last, so manyth part: 8 ms of a second
_SILENT = 10 ** (-50 / 20)  # peak
_CLIPPED = 32_700 / 32_768


def _faults(material: Material, found: Neighbours, result: Result) -> None:
    of = f"{len(material.fake_samples):,} + {len(material.real_samples):,} clips"
    for (name, title, value), (_, _, ideal) in zip(
        _figures(material.fake_samples), _figures(material.real_samples), strict=True
    ):
        result.figures.append(Figure(name, title, value, None, f"{ideal:.2g}", of))


def _figures(clips: Tensor) -> list[tuple[str, str, float]]:
    """(name, title, value) of clips int16 [n, C, T]; what the data have is the ideal."""
    peak = clips.float().abs().amax((1, 2)) / 32768
    energy = clips.float().div(32768).square().mean(1)
    end = max(energy.shape[1] // _END, 1)
    level = energy.mean(1).clamp(min=1e-12)
    ends = (energy[:, :end].mean(1) + energy[:, -end:].mean(1)) / 2
    return [
        ("clipped", "clips at full scale", float((peak >= _CLIPPED).double().mean())),
        ("silent", "silent clips", float((peak < _SILENT).double().mean())),
        ("end_energy", "power at a clip's ends by that of all of it", float((ends / level).double().mean())),
        ("step", "largest step between samples by the peak", float((_steps(clips) / peak.clamp(min=1e-4)).mean())),
    ]


def _steps(clips: Tensor) -> Tensor:
    samples = clips.float() / 32768
    return torch.diff(samples, dim=2).abs().amax((1, 2))


CLIP_FAULTS = Measure(_faults, METRICS["clip_faults"][0], of_samples=True)
