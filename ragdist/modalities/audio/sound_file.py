"""Sound files of any format that libsndfile knows, read in parts.

WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF and more; not AAC (.m4a) or WMA, which no library of a free licence in a wheel
decodes. What is damaged is refused, and not read as far as it goes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import BinaryIO

import numpy as np

from ragdist.modalities.audio import endings, mp3
from ragdist.tools.errors import UserError

BLOCK = 1 << 18  # frames that are read at a time
MOST_CHANNELS = 64

UNKNOWN = 1 << 62  # frames, or more, of a FLAC whose header has none
_AGAIN = "convert it, as with ffmpeg -i a.flac b.flac"
_CONVERT = ", which cannot be read here: convert it, as with ffmpeg -i a.{} a.flac"
# First bytes of what people take for a sound file, and what it is.
_OTHERS = (
    (4, b"ftyp", "it is MP4 or M4A" + _CONVERT.format("m4a")),
    (0, b"\x30\x26\xb2\x75", "it is WMA" + _CONVERT.format("wma")),
    (0, b"\xff\xf1", "it is AAC" + _CONVERT.format("aac")),
    (0, b"\xff\xf9", "it is AAC" + _CONVERT.format("aac")),
    (0, b"\x1aE\xdf\xa3", "it is Matroska or WebM" + _CONVERT.format("webm")),
    (0, b"version https://git-lfs", "it is a pointer of Git LFS and no sound: `git lfs pull` brings the file"),
    (0, b"<!DOCTYPE", "it is a web page and no sound"),
    (0, b"<html", "it is a web page and no sound"),
)


def library() -> ModuleType:
    """The library that reads sounds. Raises UserError where it is missing."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its shared library cannot be loaded
        raise UserError(f"sounds need soundfile and soxr ({error}): pip install 'ragdist[audio]'") from error
    return soundfile


class SoundFile:
    """An open sound file.

    Attributes:
        rate: in Hz.
        channels: their number.
        frames: of the whole file.
        bytes: of the whole file.
    """

    def __init__(self, file, size: int):
        self._file, self.bytes = file, size
        self.rate, self.channels, self.frames = file.samplerate, file.channels, file.frames

    def read(self, start: int, count: int) -> np.ndarray:
        """Read frames as float32 [count, channels]; full scale is 1. Raises ValueError for damage."""
        try:
            if self._file.tell() != start:
                self._file.seek(start)
            found = self._file.read(count, dtype="float32", always_2d=True)
        except (RuntimeError, ValueError) as error:  # libsndfile's errors are RuntimeErrors
            raise ValueError(f"it is damaged ({_words(error)})") from error
        if len(found) != count:
            raise ValueError(f"it ends after {start + len(found):,} of {self.frames:,} frames: it is cut off")
        if not np.isfinite(found).all():
            raise ValueError("it holds numbers that are not finite")
        return found

    def blocks(self) -> Iterator[np.ndarray]:
        """Read the whole file in blocks, float32 [up to BLOCK, channels]."""
        for start in range(0, self.frames, BLOCK):
            yield self.read(start, min(BLOCK, self.frames - start))


@contextmanager
def opened(data: bytes | memoryview | BinaryIO) -> Iterator[SoundFile]:
    """Open a sound file, given its bytes or a seekable file; a context.

    Raises:
        ValueError: it is none, or one that is cut off or cannot be read here.
    """
    file = io.BytesIO(data) if isinstance(data, (bytes, memoryview)) else data
    head = file.read(64)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not size:
        raise ValueError("it is empty")
    endings.check(file, size)
    if mp3.is_mp3(head) and (whole := mp3.counted(file)):
        file = io.BytesIO(whole)
    file.seek(0)
    try:
        sound = library().SoundFile(file)
    except (RuntimeError, TypeError) as error:
        raise ValueError(_other(head) or f"it is no sound file ({_words(error)})") from error
    with sound:
        if not 0 < sound.channels <= MOST_CHANNELS:
            raise ValueError(f"it has {sound.channels} channels")
        if not sound.frames:
            raise ValueError("it holds no sound: it has no frames")
        if sound.frames >= UNKNOWN:
            raise ValueError(f"it does not say how long it is, as if written to a pipe: {_AGAIN}")
        yield SoundFile(sound, size)


def _other(head: bytes) -> str:
    return next((words for place, magic, words in _OTHERS if head[place:].startswith(magic)), "")


def _words(error: Exception) -> str:
    """libsndfile's reason, without the address of a buffer before it."""
    return (getattr(error, "error_string", "") or str(error)).strip().removeprefix("Error : ").rstrip(".")
