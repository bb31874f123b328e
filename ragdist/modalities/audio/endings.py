"""Sound files that end before their sound does: libsndfile reads what there is of them, as if it were all.

WAV, RF64, Wave64, AIFF, CAF, AU and NIST say how long their sound is, an Ogg page how long it is. FLAC and MP3 are read
to their end for that.
"""

from __future__ import annotations

import io
import math
import re
import struct
from typing import BinaryIO, NamedTuple


class _Chunks(NamedTuple):
    first: int  # where the first chunk begins
    header: struct.Struct  # of a chunk: its name and size
    data: bytes  # how the name of the one with the sound begins
    counted: int  # bytes of the header that the size counts, too
    align: int = 1  # a chunk takes a multiple of so many bytes


_LITTLE, _BIG = struct.Struct("<4sI"), struct.Struct(">4sI")
_CHUNKS = {
    b"RIFF": _Chunks(12, _LITTLE, b"data", 0, 2),
    b"RF64": _Chunks(12, _LITTLE, b"data", 0, 2),
    b"RIFX": _Chunks(12, _BIG, b"data", 0, 2),
    b"FORM": _Chunks(12, _BIG, b"SSND", 0, 2),
    b"caff": _Chunks(8, struct.Struct(">4sq"), b"data", 0),
    b"riff": _Chunks(40, struct.Struct("<16sq"), b"data", 24, 8),  # Wave64
}
_UNKNOWN = 0x7FFFF000  # 32-bit sizes from here on, and 0, are by programs that wrote to a pipe
_LONGEST_NIST = 1 << 16  # bytes of a header; they are 1,024
_AU = struct.Struct(">4sII")
_PAGE, _LONGEST_PAGE = 27, 27 + 255 + 255 * 255  # bytes of an Ogg page's header without its table, and of the longest


def check(file: BinaryIO, size: int) -> None:
    """Check that a sound file, of so many bytes, is as long as it says. Others pass.

    Raises:
        ValueError: it is cut off.
    """
    file.seek(0)
    head = file.read(12)
    if chunks := _CHUNKS.get(head[:4]):
        _check_chunks(file, size, chunks)
    elif head[:4] == b".snd" and len(head) == 12:
        _, start, length = _AU.unpack(head)
        _check_size(length, size - start)
    elif head[:8] == b"NIST_1A\n":
        _check_nist(file, size)
    elif head[:4] == b"OggS":
        file.seek(max(size - _LONGEST_PAGE, 0))
        tail = file.read()
        page = tail[tail.rfind(b"OggS") :]
        segments = page[_PAGE : _PAGE + page[_PAGE - 1]] if len(page) >= _PAGE else b""
        if len(page) < _PAGE or len(segments) < page[_PAGE - 1] or len(page) < _PAGE + len(segments) + sum(segments):
            raise ValueError("it is cut off: its last page is not whole")


def _check_chunks(file: BinaryIO, size: int, chunks: _Chunks) -> None:
    place, long = chunks.first, 0
    while place + chunks.header.size <= size:
        file.seek(place, io.SEEK_SET)
        name, length = chunks.header.unpack(file.read(chunks.header.size))
        length -= chunks.counted
        start = place + chunks.header.size
        if name == b"ds64" and length >= 16:  # of RF64: sizes of more than 32 bits
            long = struct.unpack("<8xq", file.read(16))[0] if size - start >= 16 else 0
        if name.startswith(chunks.data):
            _check_size(long if length >= _UNKNOWN and long else length, size - start)
            return
        if length < 0:
            return
        place = start + length + -length % chunks.align


def _check_nist(file: BinaryIO, size: int) -> None:
    """Check a file of lines NAME TYPE VALUE, in a header of so many bytes as its second line says."""
    file.seek(8)
    header = re.fullmatch(rb" *(\d+)\n", file.read(8))
    if header is None:
        return
    start = int(header[1])
    file.seek(0)
    said = dict(re.findall(rb"^(\w+) -i (\d+)$", file.read(min(start, _LONGEST_NIST)), re.MULTILINE))
    numbers = [int(said.get(name, 0)) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    _check_size(math.prod(numbers), size - start)


def _check_size(length: int, there: int) -> None:
    unknown = length <= 0 or _UNKNOWN <= length < 2**32
    if not unknown and length > there:
        raise ValueError(f"it is cut off: its header says {length:,} bytes of sound, {max(there, 0):,} are there")
