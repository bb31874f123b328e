"""Making of clips: recordings are decoded, cut, resampled and mixed once; training then reads the same bits everywhere.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from ragdist.modalities.audio import clip, foreign, sound_file
from ragdist.modalities.audio.options import LEAST_RATE, MOST_RATE, AudioIndexOptions, AudioOptions
from ragdist.modalities.audio.recording import Recording
from ragdist.modalities.base import Encoded, Form

unit, units = "clip", "clips"
payload = ("flac", "wav", "mp3", "ogg", "opus", "oga", "wave", "aif", "aiff")
suffixes = frozenset((
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".w64",
    ".rf64", ".sph",
))  # fmt: skip
others = frozenset((
    ".m4a", ".m4b", ".mp4", ".aac", ".wma", ".mov", ".mkv", ".mka", ".webm", ".weba", ".3gp", ".amr", ".ac3", ".dts",
    ".ape", ".wv", ".tta", ".mpc", ".dsf", ".dff", ".ra", ".avi", ".asf", ".spx",
))  # fmt: skip
convert = "as with ffmpeg -i a.m4a a.flac"
guess_arrays = False  # [N, frames] are numbers like any
_LEAST_FRAMES = 1_000  # that clips in an array have as a rule: a second at the lowest rate
spec = frozenset(("rate",))
options = AudioOptions
index_options = AudioIndexOptions
begin = "--config speech"
begin_unlabelled = f"{begin} --network.labels false"
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


@contextmanager
def open_item(item: bytes | BinaryIO | Recording | Mapping[str, Any]) -> Iterator[clip.Sound]:
    """Open a recording: a sound file, given as bytes or open; one in memory; or a row with samples and their rate."""
    if isinstance(item, Mapping):
        yield _of_row(item)
    elif isinstance(item, Recording):
        yield item
    else:
        with sound_file.opened(item) as sound:
            yield sound


def parts(options: AudioOptions) -> Callable[[clip.Sound], int] | None:
    return partial(_windows, options=options) if options.slice == "windows" else None


def _windows(sound: clip.Sound, options: AudioOptions) -> int:
    sound = _checked(sound, options)
    sound.check_end()  # or a header that says too much becomes so many clips that cannot be read
    return clip.windows(clip.frames_at(sound, options.rate), clip.size_of(options))


def encode(
    item: bytes | BinaryIO | Recording | Mapping[str, Any] | clip.Sound, options: AudioOptions, part: int = 0
) -> Encoded:
    """Encode a recording, or a part of it, as a clip. Raises ValueError for no sound, or a damaged one."""
    if isinstance(item, sound_file.SoundFile):
        return _encode(item, options, part)
    with open_item(item) as sound:
        return _encode(sound, options, part)


def _encode(sound: clip.Sound, options: AudioOptions, part: int) -> Encoded:
    samples, notes = clip.clip(_checked(sound, options), options, part)
    out = io.BytesIO()
    sound_file.library().write(out, samples, options.rate, format=options.format.upper(), subtype="PCM_16")
    shape = (samples.shape[1], samples.shape[0])
    return Encoded(out.getvalue(), options.format, shape, {"rate": options.rate}, tuple(notes))


def _checked(sound: clip.Sound, options: AudioOptions) -> clip.Sound:
    """The recording, with a rate. Raises ValueError for one that is no sound's."""
    sound = sound.at(options.rate) if isinstance(sound, Recording) else sound
    if not LEAST_RATE <= sound.rate <= MOST_RATE:
        raise ValueError(f"its rate is {sound.rate:,} Hz, and {LEAST_RATE:,} to {MOST_RATE:,} can be read")
    return sound


# Arrays.


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and min(shape[1:]) > 2):
        return f"has the shape {list(shape)}: clips are [N, frames] or [N, 1 or 2, frames], at the rate of --rate"
    if dtype != np.int16 and dtype.kind != "f":
        return f"holds {dtype}: clips are int16, or floats from -1 to 1"
    return ""


def unlikely_array(shape: tuple[int, ...]) -> bool:
    return max(shape[1:]) < _LEAST_FRAMES


def from_array(row: np.ndarray) -> Recording:
    return Recording(_by_frames(row))


def _by_frames(samples: np.ndarray) -> np.ndarray:
    """[frames, channels] of samples [frames], [channels, frames] or [frames, channels]."""
    if samples.ndim == 1:
        return samples[:, None]
    return samples.T if len(samples) <= 2 else samples


def _of_row(row: Mapping[str, Any]) -> Recording:
    """A recording of a table's row that was decoded: its ``array`` and ``sampling_rate``."""
    try:
        samples, rate = np.asarray(row["array"]), int(row["sampling_rate"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("the row has no array of samples with their sampling_rate") from error
    if samples.ndim not in (1, 2) or (problem := check_array((1, *samples.shape), samples.dtype)):
        raise ValueError(f"its array {problem or f'has the shape {list(samples.shape)}'}")
    return Recording(_by_frames(samples), rate)


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    if not writing:
        return foreign.refusal(first, other)
    (name, form), (odd, odd_form) = first, other
    if form == odd_form:
        return ""
    words = f"clips of different forms: {name} is {in_words(form)}, {odd} is {in_words(odd_form)}"
    return f"{words}; give --channels 1 or 2"
