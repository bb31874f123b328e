"""Sound files that end too early, of which libsndfile reads what there is without a word."""

from __future__ import annotations

import struct
from typing import BinaryIO

_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # in a WAV by a program that wrote to a pipe
_LARGEST_PAGE = 27 + 255 + 255 * 255  # bytes of Ogg


def check(file: BinaryIO, size: int) -> None:
    """Refuse a file, of so many bytes, that ends too early. Raises ValueError.

    What is no WAV or Ogg passes.
    """
    file.seek(0)
    head = file.read(12)
    if head.startswith(b"RIFF"):
        _check_wav(file, size)
    elif head.startswith(b"OggS"):
        _check_ogg(file, size)
    file.seek(0)


def _check_wav(file: BinaryIO, size: int) -> None:
    place = 12
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            there = size - place - 8
            if length not in _UNKNOWN_SIZES and length > there:
                raise ValueError(f"it is cut off: its header says {length:,} bytes of sound, {there:,} are there")
            return
        place += 8 + length + length % 2


def _check_ogg(file: BinaryIO, size: int) -> None:
    """Look at the last page: libsndfile takes the end of the last whole one for that of the sound."""
    file.seek(max(size - _LARGEST_PAGE, 0))
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    sizes = tail[at + 27 : at + 27 + tail[at + 26]] if at >= 0 and at + 26 < len(tail) else b""
    if not sizes or len(sizes) < tail[at + 26] or at + 27 + len(sizes) + sum(sizes) > len(tail):
        raise ValueError("it is cut off: its last page is not whole")
