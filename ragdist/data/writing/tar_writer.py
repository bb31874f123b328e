"""Plain USTAR tars, written member by member at the speed of the disk.

tarfile spends 20 us on a header; a sample has two members, and this is most of what writing a small image costs.
The header here is tarfile's own, with name, size and checksum filled in.
"""

import tarfile
from functools import cache

RECORD = tarfile.RECORDSIZE  # a tar's size is a multiple of it, and its end is two blocks of zeros
BLOCK = tarfile.BLOCKSIZE
_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 136), slice(148, 156)
LARGEST = 8**11 - 1  # bytes of a member


@cache
def _blank() -> tuple[bytes, int]:
    """A header without name and size, and the sum of its bytes with a blank checksum."""
    info = tarfile.TarInfo()
    info.mode = 0o444
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[_SIZE] = bytes(12)
    header[_SUM] = b" " * 8
    return bytes(header), sum(header)


def header(name: str, size: int) -> bytes:
    """The header of a member, 512 bytes; all that could differ between two runs is 0.

    Args:
        name: at most 100 bytes of ASCII.
        size: of the content, at most `LARGEST` bytes.
    """
    encoded, digits = name.encode("ascii"), b"%011o\0" % size
    assert len(encoded) <= 100, name
    assert size <= LARGEST, (name, size)
    blank, total = _blank()
    block = bytearray(blank)
    block[: len(encoded)] = encoded
    block[_SIZE] = digits
    block[_SUM] = b"%06o\0 " % (total + sum(encoded) + sum(digits))
    return bytes(block)


def member(name: str, data: bytes) -> bytes:
    """A member's bytes: header, content and padding to a whole block."""
    return b"".join((header(name, len(data)), data, bytes(-len(data) % BLOCK)))


def ending(size: int) -> bytes:
    """The end of a tar with ``size`` bytes of members."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)
