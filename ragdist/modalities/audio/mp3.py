"""MP3s that do not say how long they are, as those of speech services and of pipes.

By the first frame and the size libsndfile guesses how many there are, and reads no more: of a variable rate it may be a
fifth of them, and a tag counts as sound.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_COUNTS = (b"Xing", b"Info", b"VBRI")  # what a first frame that counts them holds
_NEARLY = 0.99  # sizes that differ by less are taken for equal, for writers count otherwise
_KILOBITS = {  # of layer III, by whether the version is 1
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MONO, _WITHOUT_CHECKSUM, _LARGEST = 3, 0x01, 14 << 4


class _Frame(NamedTuple):
    place: int
    size: int  # in bytes


def is_mp3(head: bytes) -> bool:
    """Whether a file that begins so may be an MP3."""
    return head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)


def counted(file: BinaryIO) -> bytes | None:
    """The frames of an MP3 behind one that counts them; None where it has such a frame, or there are none.

    Raises:
        ValueError: it is cut off.
    """
    start = _start(file)
    there = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    begin = file.read(2048)
    if _frame(begin, 0) is None:
        return None
    if any(name in begin[:200] for name in _COUNTS):
        _check_size(begin[:200], there)
        return None
    data = begin + file.read()
    frames = list(_frames(data))
    place, size = frames[-1]
    if place + size > len(data):
        raise ValueError("it is cut off: its last frame is not whole")
    sound = data[: place + size]
    return _counting(sound[:4], len(frames), len(sound)) + sound


def _check_size(frame: bytes, there: int) -> None:
    """Refuse a file that is shorter than its first frame says, which libsndfile prints a warning of."""
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if not 0 <= place <= len(frame) - 16:
        return
    flags, *numbers = struct.unpack_from(">III", frame, place + 4)
    said = numbers[flags & 1] if flags & 2 else 0
    if there < _NEARLY * said:
        raise ValueError(f"it is cut off: its header says {said:,} bytes of sound, {there:,} are there")


def _start(file: BinaryIO) -> int:
    """The first byte behind a tag, if there is one."""
    file.seek(0)
    head = file.read(10)
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:10])))


def _frames(data: bytes) -> Iterator[_Frame]:
    place = 0
    while (size := _frame(data, place)) is not None:
        yield _Frame(place, size)
        place += size


def _frame(data: bytes, place: int) -> int | None:
    """Bytes of the frame of layer III that begins there; None where there is none."""
    if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] & 0xE6 != 0xE2:
        return None
    version, kilobits, rate = data[place + 1] >> 3 & 3, data[place + 2] >> 4, data[place + 2] >> 2 & 3
    if version == 1 or rate == 3 or kilobits in (0, 15):
        return None
    bits = 144_000 if version == 3 else 72_000
    return bits * _KILOBITS[version == 3][kilobits] // _RATES[version][rate] + (data[place + 2] >> 1 & 1)


def _counting(header: bytes, frames: int, size: int) -> bytes:
    """A silent frame, of this header's kind and of the largest size, that says how many frames and bytes follow."""
    one, stereo = header[1] >> 3 & 3 == 3, header[3] >> 6 != _MONO
    kind = bytes((0xFF, header[1] | _WITHOUT_CHECKSUM, _LARGEST | header[2] & 0x0C, header[3]))
    side = (32 if stereo else 17) if one else (17 if stereo else 9)  # bytes that say how a frame is packed
    whole = _frame(kind, 0)
    count = struct.pack(">4sIII", b"Xing", 3, frames, whole + size)
    return (kind + bytes(side) + count).ljust(whole, b"\0")
