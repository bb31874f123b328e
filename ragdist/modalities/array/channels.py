"""Shift and scale of each channel, learned from all samples in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ROWS, _NUMBERS = 1024, 1 << 26  # samples that are taken in one go, and their numbers while there are several
_LEAST = 1e-30  # a scale below would make float32 overflow


class Channels(NamedTuple):
    """What networks see is (x - shift) / scale, of each channel."""

    shift: tuple[float, ...]
    scale: tuple[float, ...]


class Statistics:
    """Count, mean, sum of squared differences from it, least and largest number of each channel, in float64.

    Blocks of samples are joined by the formula of Chan, Golub & LeVeque 1979, which loses no digits where the mean is
    large by the deviation.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = np.zeros(0)
        self.low = self.high = np.zeros(0)
        self._rows: list[np.ndarray] = []

    def add(self, row: np.ndarray) -> None:
        """Add a sample [C, T] or [D] of finite numbers; all must be of one shape."""
        self._rows.append(row)
        if len(self._rows) == max(min(_ROWS, _NUMBERS // row.size), 1):
            self._join()

    def _join(self) -> None:
        if not self._rows:
            return
        rows = np.stack(self._rows).astype(np.float64)
        self._rows = []
        rows = np.moveaxis(rows.reshape(*rows.shape[:2], -1), 1, 0).reshape(rows.shape[1], -1)  # [C, numbers]
        count, mean = rows.shape[1], rows.mean(1)
        squares = np.square(rows - mean[:, None]).sum(1)
        low, high = rows.min(1), rows.max(1)
        if not self.count:
            self.count, self.mean, self.squares, self.low, self.high = count, mean, squares, low, high
            return
        both, difference = self.count + count, mean - self.mean
        self.mean = self.mean + difference * (count / both)
        self.squares = self.squares + squares + np.square(difference) * (self.count * count / both)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.count = both

    def channels(self, how: str) -> Channels:
        """Shift and scale, by the option ``scaling``; a channel that does not change is scaled by 1."""
        self._join()
        if how == "deviation":
            shift, scale = self.mean, np.sqrt(self.squares / max(self.count, 1))
        elif how == "range":
            shift, scale = (self.low + self.high) / 2, (self.high - self.low) / 2
        else:
            shift, scale = np.zeros_like(self.mean), np.ones_like(self.mean)
        scale = np.where((self.high > self.low) & (scale > _LEAST), scale, 1.0)
        return Channels(tuple(shift.tolist()), tuple(scale.tolist()))
