"""Options of making clips from recordings, and of indexing clips that others packed."""

from dataclasses import dataclass
from typing import Literal

from ragdist.config.option import common, option

LEAST_RATE, MOST_RATE = 1_000, 384_000  # Hz
MOST_SECONDS = 600


@dataclass
class AudioOptions:
    """How recordings become clips."""

    rate: int = common(16_000, at_least=LEAST_RATE, at_most=MOST_RATE)
    """in Hz, to which clips are resampled"""
    seconds: float = common(1.0, above=0, at_most=MOST_SECONDS)
    """length of the clips, rounded up to a power of two of samples"""
    channels: Literal[0, 1, 2] = common(1, shared=True)
    """1: mono, mixed down; 2: stereo, or mono twice; 0: as they are"""
    slice: Literal["first", "center", "energy", "windows"] = "energy"
    """of a longer recording: its beginning, middle, loudest part, or all of it in several clips"""
    gain: Literal["peak", "rms", "keep"] = "peak"
    """peak: as loud as fits, rms: equally loud as far as that fits, keep: as they are"""
    format: Literal["flac", "wav"] = option("flac", shared=True)
    """flac: half the space; wav: read in a third of the time"""


@dataclass
class AudioIndexOptions:
    """How clips in shards that others wrote become samples."""

    seconds: float = option(0.0, at_least=0, at_most=MOST_SECONDS)
    """length of the samples, rounded up as for shards that are made; 0: the first clip's, rounded up"""
    channels: Literal[0, 1, 2] = option(0, shared=True)
    """1: mono, others are mixed down; 2: stereo, mono is doubled; 0: as the first clip is"""


def length(rate: int, seconds: float) -> int:
    """The number of samples of a clip: the least power of two that lasts so many seconds."""
    return 1 << max(round(rate * seconds) - 1, 0).bit_length()
