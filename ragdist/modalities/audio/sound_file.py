"""Sound files of any format that libsndfile knows, read in parts.

WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF and more; not AAC (.m4a) or WMA, which no library of a free licence in a wheel
decodes. What is damaged is refused, and not read as far as it goes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from types import ModuleType
from typing import BinaryIO

import numpy as np

from ragdist.modalities.audio import endings, mp3
from ragdist.tools.errors import UserError

BLOCK = 1 << 18  # frames that are read at a time
MOST_CHANNELS = 64

# What libsndfile seeks in to the very frame: the rest is read from its beginning, MP3 from some frames before.
_EXACT = frozenset((
    *("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    *("ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"),
))  # fmt: skip
_INEXACT = ("PAF", "SDS")  # formats, whatever they hold
_MOST_HELD = 1 << 24  # numbers of a file that is kept in memory if it would be read from its beginning again
_BEFORE = 32 * 1152  # frames, of as many frames of MP3 as one can depend on and more

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
    """An open sound file. What is read does not depend on what was read before.

    Attributes:
        rate: in Hz.
        channels: their number.
        frames: of the whole file.
        bytes: of the whole file.
    """

    def __init__(self, data: BinaryIO, size: int):
        self._data, self.bytes = data, size
        self._held: np.ndarray | None = None
        self._start()
        file = self._file
        self.rate, self.channels, self.frames = file.samplerate, file.channels, file.frames
        self._mp3 = file.subtype.startswith("MPEG")
        self._exact = file.subtype in _EXACT and file.format not in _INEXACT

    def close(self) -> None:
        self._file.close()

    def read(self, start: int, count: int) -> np.ndarray:
        """Read frames as float32 [count, channels]; full scale is 1. Raises ValueError for damage."""
        return self._checked(self._read, start, count)

    def blocks(self) -> Iterator[np.ndarray]:
        """Read the whole file in blocks, float32 [up to BLOCK, channels], with no other reading between them."""
        self._start()
        for start in range(0, self.frames, BLOCK):
            yield self._checked(self._next, start, min(BLOCK, self.frames - start))

    def _checked(self, read: Callable[[int, int], np.ndarray], start: int, count: int) -> np.ndarray:
        try:
            found = read(start, count)
        except (RuntimeError, ValueError) as error:  # libsndfile's errors are RuntimeErrors
            self._at = None
            raise ValueError(f"it is damaged ({_words(error)})") from error
        if len(found) != count:
            raise ValueError(f"it ends after {start + len(found):,} of {self.frames:,} frames: it is cut off")
        if not np.isfinite(found).all():
            raise ValueError("it holds numbers that are not finite")
        return found

    def check_end(self) -> None:
        """Check that the last frame is there. Raises ValueError where it is not."""
        if self._file.format != "OGG":  # of which the last page was looked at, and which is read from the beginning
            self.read(self.frames - 1, 1)

    def _read(self, start: int, count: int) -> np.ndarray:
        if self._exact:
            if self._at != start:
                self._file.seek(start)
            return self._next(start, count)
        if self._mp3:  # of which a decoder's rounding depends on how many frames it has seen
            before = min(start, _BEFORE)
            if self._at != 0:
                self._start()
            if start > before:
                self._file.seek(start - before)
            return self._next(start - before, before + count)[before:]
        if self._held is None and (self._at is None or self._at > start):
            self._start()
            if self.frames * self.channels <= _MOST_HELD:
                self._held = self._next(0, self.frames)
        if self._held is not None:
            return self._held[start : start + count]
        while self._at < start:
            if not len(self._next(self._at, min(BLOCK, start - self._at))):
                raise ValueError(f"it ends after {self._at:,} of {self.frames:,} frames")
        return self._next(start, count)

    def _start(self) -> None:
        """Open the file, at its first frame."""
        self._data.seek(0)
        self._file, self._at = _straight()(self._data), 0

    def _next(self, place: int, count: int) -> np.ndarray:
        """Read on, where the file is at that place."""
        found = self._file.read(count, dtype="float32", always_2d=True)
        self._at = place + len(found)
        return found


@cache
def _straight() -> type:
    """soundfile's file without a seek after each reading to where it stands: in Opus it changes what is read next."""

    class Straight(library().SoundFile):
        def seekable(self) -> bool:
            return False

    return Straight


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
    try:
        sound = SoundFile(file, size)
    except (RuntimeError, TypeError) as error:
        raise ValueError(_other(head) or f"it is no sound file ({_words(error)})") from error
    with closing(sound):
        if not 0 < sound.channels <= MOST_CHANNELS:
            raise ValueError(f"it has {sound.channels} channels")
        if not sound.frames:
            raise ValueError("it holds no sound: it has no frames")
        if sound.frames >= UNKNOWN:
            raise ValueError(f"it does not say how long it is, as if written to a pipe: {_AGAIN}")
        yield sound


def _other(head: bytes) -> str:
    return next((words for place, magic, words in _OTHERS if head[place:].startswith(magic)), "")


def _words(error: Exception) -> str:
    """libsndfile's reason, without the address of a buffer before it."""
    return (getattr(error, "error_string", "") or str(error)).strip().removeprefix("Error : ").rstrip(".")
