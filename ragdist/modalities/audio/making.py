"""Making of clips: recordings are decoded, cut, resampled and mixed once; training then reads the same bits everywhere.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, BinaryIO

import numpy as np

from ragdist.modalities.audio import clip, foreign, sound_file
from ragdist.modalities.audio.options import LEAST_RATE, MOST_RATE, AudioIndexOptions, AudioOptions
from ragdist.modalities.base import Encoded, Form

unit, units = "clip", "clips"
payload = ("flac", "wav", "mp3", "ogg", "opus", "oga", "wave", "aif", "aiff")
suffixes = frozenset(
    (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".au", ".w64")
)
spec = frozenset(("rate",))
options = AudioOptions
index_options = AudioIndexOptions
begin = "--config speech"
reading = nullcontext
describe, notes, loses, in_words = foreign.describe, foreign.notes, foreign.loses, foreign.in_words


def _versions() -> dict[str, str]:
    found = {}
    for name in ("soundfile", "soxr"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


depends = _versions()


# Recordings.


def parts(item: bytes | BinaryIO | Recording, options: AudioOptions) -> Sequence[clip.Part]:
    if isinstance(item, Recording):
        return clip.parts(item.at(options.rate), options)
    with sound_file.opened(item) as sound:
        return clip.parts(sound, options)


def encode(item: bytes | BinaryIO | Recording, options: AudioOptions, part: clip.Part | None = None) -> Encoded:
    """Encode a sound file, given as bytes or open, or a recording in memory; one part of it."""
    if isinstance(item, Recording):
        return _encode(item.at(options.rate), options, part)
    with sound_file.opened(item) as sound:
        return _encode(sound, options, part)


def _encode(sound: Any, options: AudioOptions, part: clip.Part | None) -> Encoded:
    if not LEAST_RATE <= sound.rate <= MOST_RATE:
        raise ValueError(f"its rate is {sound.rate:,} Hz, and {LEAST_RATE:,} to {MOST_RATE:,} can be read")
    samples, notes = clip.clip(sound, part or clip.parts(sound, options)[0], options)
    out = io.BytesIO()
    sound_file.library().write(out, samples, options.rate, format=options.format.upper(), subtype="PCM_16")
    shape = (samples.shape[1], samples.shape[0])
    return Encoded(out.getvalue(), options.format, shape, {"rate": options.rate}, tuple(notes))


# Arrays.


class Recording:
    """A recording in memory, as `sound_file.SoundFile`: float or int16 [frames, channels].

    ``rate``: 0: what is asked for.
    """

    def __init__(self, samples: np.ndarray, rate: int = 0):
        self.samples, (self.frames, self.channels), self.rate = samples, samples.shape, rate

    def at(self, rate: int) -> Recording:
        """Itself, with a rate."""
        self.rate = self.rate or rate
        return self

    def read(self, start: int, count: int) -> np.ndarray:
        found = self.samples[start : start + count]
        found = found / np.float32(32768) if found.dtype == np.int16 else found.astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError("it holds numbers that are not finite")
        return found

    def blocks(self) -> Iterator[np.ndarray]:
        yield self.read(0, self.frames)


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    if len(shape) != 2 or not min(shape, default=0):
        return f"has the shape {list(shape)}: clips are [N, frames], mono, of the rate that --rate says"
    if dtype != np.int16 and dtype.kind != "f":
        return f"holds {dtype}: clips are int16, or floats from -1 to 1"
    return ""


def from_array(row: np.ndarray) -> Recording:
    return Recording(row[:, None])


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    if not writing:
        return foreign.refusal(first, other)
    (name, form), (odd, odd_form) = first, other
    if form == odd_form:
        return ""
    words = f"clips of different forms: {name} is {in_words(form)}, {odd} is {in_words(odd_form)}"
    return f"{words}; give --audio.channels 1 or 2"
