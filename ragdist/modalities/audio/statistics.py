"""Figures of clips that tell what is wrong with recordings: length, loudness, silence, clipping, offset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ragdist.modalities.audio import sound_file
from ragdist.modalities.base import Form, Statistic

SILENT = 10 ** (-60 / 20)  # peak, by full scale
_FULL = 32_767  # of int16, and its negative
_CLIPPED = 3  # samples at full scale that are no chance
_LEAST = 10 ** (-100 / 20)  # of silence, whose logarithm is none


def statistics(payloads: Sequence[memoryview], samples: Tensor, form: Form) -> list[Statistic]:
    """Figures of clips int16 [n, C, T]; see `modalities.base.Judging.statistics`."""
    clips = samples.flatten(1).double() / 32768
    peak, power = clips.abs().amax(1), clips.square().mean(1)
    at_full_scale = (samples.flatten(1).int().abs() >= _FULL).sum(1)
    frames = [_frames(payload) for payload in payloads]
    return [
        Statistic("length", [count / form.spec["rate"] for count in frames], "s"),
        Statistic("peak", decibels(peak).tolist(), "dB"),
        Statistic("loudness", decibels(power.sqrt()).tolist(), "dB"),
        Statistic("offset", decibels((samples.double().mean(2) / 32768).abs().amax(1)).tolist(), "dB"),
        Statistic("silent", (peak < SILENT).tolist()),
        Statistic("clipped", (at_full_scale >= _CLIPPED).tolist()),
        Statistic("padded", [count < form.shape[1] for count in frames]),
        Statistic("cut", [count > form.shape[1] for count in frames]),
    ]


def decibels(shares: Tensor) -> Tensor:
    """Shares of full scale in dB, at least -100."""
    return 20 * torch.log10(shares.clamp(min=_LEAST))


def _frames(payload: memoryview) -> int:
    with sound_file.opened(payload) as sound:
        return sound.frames
