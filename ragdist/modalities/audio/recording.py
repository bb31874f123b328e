"""Recordings in memory, with the reading that sound files have: rows of arrays, and what is synthesized here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class Recording:
    """A recording in memory, as `sound_file.SoundFile`.

    Args:
        samples: float, full scale at 1, or int16; [frames, channels].
        rate: in Hz; 0: the one that is asked for.
    """

    def __init__(self, samples: np.ndarray, rate: int = 0):
        self.samples, (self.frames, self.channels), self.rate = samples, samples.shape, rate

    def at(self, rate: int) -> Recording:
        """The recording, with this rate unless it has one."""
        return Recording(self.samples, self.rate or rate)

    def read(self, start: int, count: int) -> np.ndarray:
        """Read frames as float32 [count, channels]. Raises ValueError for what is not finite."""
        found = self.samples[start : start + count]
        found = found / np.float32(32768) if found.dtype == np.int16 else found.astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError("it holds numbers that are not finite")
        return found

    def blocks(self) -> Iterator[np.ndarray]:
        """Read all of it, float32 [frames, channels]."""
        yield self.read(0, self.frames)

    def check_end(self) -> None:
        """Nothing: all of it is there."""
