"""Strict walks through tars: every byte is accounted for, or the damage and its place are reported.

Readers of streams, and Python's tarfile, take a damaged header, a block of zeros or the end of a file that was
cut at a header for the end of the archive, and say nothing. Here a tar is whole only if headers and members
follow each other up to an end-of-archive marker, with nothing but zeros after it.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
_ZEROS = bytes(BLOCK)
_LONGEST_NAME = 1 << 20  # bytes of a header that only describes the next member
_STEP = 1 << 20

Buffer = bytes | memoryview


class TarDamage(Exception):
    """Damage of a tar: the defect, its byte, and the member before."""

    def __init__(self, reason: str, offset: int, after: str = ""):
        super().__init__(reason, offset, after)  # all of them, so that it can be sent to another process
        self.reason, self.offset, self.after = reason, offset, after

    def __str__(self) -> str:
        return f"at byte {self.offset:,}{f', after {printable(self.after)},' if self.after else ''} {self.reason}"


def printable(name: str) -> str:
    """A name from a tar, which may hold anything, as printable text of one line."""
    return (name if name.isprintable() else ascii(name)[1:-1])[:200]


@dataclass(frozen=True)
class Member:
    """A regular file in a tar."""

    name: str
    header: int  # first byte of its (first) header
    offset: int  # first byte of its content
    size: int  # bytes


def walk(data: Buffer) -> Iterator[Member]:
    """Walk the regular files of an uncompressed tar, in order; links, devices and folders are passed over.

    Args:
        data: the whole file, such as a memory map of it. Headers alone are looked at.

    Raises:
        TarDamage: the tar is not whole. The members before the damage have been yielded.
    """
    size, at, last = len(data), 0, ""
    start, extra = 0, {}  # of the headers that describe the next member
    everywhere: dict[str, str] = {}  # what a global header says of all members after it
    while True:
        block = bytes(data[at : at + BLOCK])
        if block == _ZEROS:
            _check_end(data, at, last)
            if extra:
                raise TarDamage("the member that the last header describes is missing", at, last)
            return
        if len(block) < BLOCK:
            raise TarDamage(_cut(size, at), at, last)
        header = _header(block, at, last)
        if not extra:
            start = at
        content = at + BLOCK
        if header.type in (b"x", b"g", b"L", b"K", b"X"):
            if header.size > _LONGEST_NAME:
                raise TarDamage(f"a name of {header.size:,} bytes", at, last)
            text = bytes(data[content : content + header.size])
            at = _after(content, header.size, size, start, "a long name", last)
            if header.type == b"g":
                everywhere |= _pax(text, start, last)
            elif header.type == b"L":
                extra["path"] = _text(text.split(b"\0", 1)[0])
            elif header.type == b"K":
                extra["linkpath"] = ""  # of no use here, but the next member belongs to it
            else:
                extra |= _pax(text, start, last)
            continue
        said, extra = everywhere | extra, {}
        name = said.get("path", header.name)
        if header.type == b"S" or any(key.startswith("GNU.sparse") for key in said):
            raise TarDamage(
                f"{printable(name)} is stored with holes (a sparse file), which has no byte range", start, last
            )
        length = _number(said.get("size"), header.size, start, last)
        if not (header.isreg() or header.type not in tarfile.SUPPORTED_TYPES):
            length = 0  # a folder, link or device has a header only, whatever size it says
        at = _after(content, length, size, start, name, last)
        if header.isreg():
            yield Member(name, start, content, length)
        last = name


def _header(block: bytes, at: int, last: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        if at == 0:
            kind = "it is compressed: unpack it" if _packed(block) else "it is no tar"
            raise TarDamage(kind, at) from error
        raise TarDamage("the header is damaged, and what follows cannot be found", at, last) from error
    if header.size < 0:
        raise TarDamage("the header is damaged (a size below zero)", at, last)
    return header


def _packed(block: bytes) -> bool:
    return block.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _after(content: int, length: int, size: int, start: int, name: str, last: str) -> int:
    """The offset of the next header, after a content of this length."""
    end = content + length
    if end > size:
        raise TarDamage(
            f"{printable(name)} has {length:,} bytes and only {max(size - content, 0):,} are there", start, last
        )
    return content + -(-length // BLOCK) * BLOCK  # padding that was cut off is found at the next header


def _check_end(data: Buffer, at: int, last: str) -> None:
    """Check that the zeros at ``at`` are the end-of-archive marker, two blocks, at the end of the file."""
    if len(data) - at < 2 * BLOCK:
        raise TarDamage("half of the end-of-archive marker is missing: the file was cut off there", at, last)
    for start in range(at, len(data), _STEP):
        piece = bytes(data[start : start + _STEP])
        if left := piece.lstrip(b"\0"):
            beyond = start + len(piece) - len(left)
            raise TarDamage(
                f"zeros, where readers stop, and other content from byte {beyond:,} on, which they lose", at, last
            )


def _cut(size: int, at: int) -> str:
    if size == 0:
        return "it is empty"
    if size <= at:
        return "the file ends without an end-of-archive marker: it was cut off, or its writer was stopped"
    return f"the file ends in the middle of a header ({size - at} of {BLOCK} bytes)"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pax(data: bytes, at: int, last: str) -> dict[str, str]:
    """Parse the records ``LENGTH KEY=VALUE\\n`` of a PAX header."""
    found, place = {}, 0
    while place < len(data) and data[place]:
        match = re.compile(rb"(\d{1,20}) ([^=]+)=").match(data, place)
        end = place + int(match[1]) if match else 0
        if not match or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise TarDamage("the header of a long name is damaged", at, last)
        key, value = _text(match[2]), data[match.end() : end - 1]
        found[key] = _text(value).rstrip("/") if key == "path" else _text(value)
        place = end
    return found


def _number(said: str | None, otherwise: int, at: int, last: str) -> int:
    if said is None:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,18}", said):
        raise TarDamage("the header is damaged (its size is no number)", at, last)
    return int(said)
