"""Strict walks through tars: every byte is accounted for, or the damage and its place are reported.

Readers of streams, and Python's tarfile, take a damaged header, a block of zeros or the end of a file that was
cut at a header for the end of the archive, and say nothing. Here a tar is whole only if headers and members
follow each other up to an end-of-archive marker, with nothing but zeros after it.
"""

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

BLOCK = 512
_ZEROS = bytes(BLOCK)
_LONGEST_NAME = 1 << 20  # bytes of a header that only describes the next member
_STEP = 1 << 20
_DESCRIBING = (b"x", b"g", b"L", b"K", b"X")  # types of headers that describe members after them

_PACKERS = (
    (b"\x1f\x8b", "gzip", "gzip -dc X > X.tar"),
    (b"BZh", "bzip2", "bzip2 -dc X > X.tar"),
    (b"\xfd7zXZ", "xz", "xz -dc X > X.tar"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "zstd -dc X > X.tar"),
    (b"\x04\x22\x4d\x18", "LZ4", "lz4 -dc X > X.tar"),
)

Buffer = bytes | memoryview


class TarDamage(Exception):
    """Damage of a tar: the defect, its byte, and the member before."""

    def __init__(self, reason: str, offset: int, after: str = ""):
        super().__init__(reason, offset, after)  # all of them, so that it can be sent to another process
        self.reason, self.offset, self.after = reason, offset, after

    def __str__(self) -> str:
        return f"at byte {self.offset:,}{f', after {printable(self.after)},' if self.after else ''} {self.reason}"


class NoTar(TarDamage):
    """A file that is no tar from its first byte on: which kind it is, and what to do, if that is known."""

    def __init__(self, reason: str, offset: int = 0, after: str = ""):
        super().__init__(reason, offset, after)

    def __str__(self) -> str:
        return self.reason


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


# Members that are no regular files and hold, or stand for, something that is then not read. Folders are none.
_OTHERS = {
    tarfile.SYMTYPE: "symbolic links",
    tarfile.LNKTYPE: "hard links",
    tarfile.CHRTYPE: "devices and pipes",
    tarfile.BLKTYPE: "devices and pipes",
    tarfile.FIFOTYPE: "devices and pipes",
    b"M": "parts of files that go on in another volume",
}
_FOLDERS = (tarfile.DIRTYPE, b"D", b"V")  # and the name of the whole volume


def walk(data: Buffer, passed: Callable[[str, str], None] = lambda kind, name: None) -> Iterator[Member]:
    """Walk the regular files of an uncompressed tar, in order.

    Args:
        data: the whole file, such as a memory map of it. Headers alone are looked at.
        passed: told of each other member but folders, what kind it is, in the plural, and its name.

    Raises:
        TarDamage: the tar is not whole. The members before the damage have been yielded.
    """
    at, last = 0, ""
    everywhere: dict[str, str] = {}
    while (found := _headers(data, at, last, everywhere)) is not None:
        name = found.said.get("path", found.own.name)
        if found.own.type == b"S" or any(key.startswith("GNU.sparse") for key in found.said):
            raise TarDamage(
                f"{printable(name)} is stored with holes (a sparse file), which has no byte range", found.start, last
            )
        length = _number(found.said.get("size"), found.own.size, found.start, last)
        if not (found.own.isreg() or found.own.type not in tarfile.SUPPORTED_TYPES):
            length = 0  # a folder, link or device has a header only, whatever size it says
        at = _after(found.content, length, len(data), found.start, name, last)
        if found.own.isreg():
            yield Member(name, found.start, found.content, length)
        elif found.own.type not in _FOLDERS:
            passed(_OTHERS.get(found.own.type, "members of unknown kinds"), name)
        last = name


class _Headers(NamedTuple):
    """The headers of a member: its own, and those before it that describe it."""

    own: tarfile.TarInfo
    start: int  # first byte of the first of them
    content: int  # first byte after them
    said: dict[str, str]  # by those before: "path", "size" and what tells of holes


def _headers(data: Buffer, at: int, last: str, everywhere: dict[str, str]) -> _Headers | None:
    """Read the headers of the member at ``at``; None at the end of the archive.

    Args:
        data: the whole file.
        at: a header's first byte.
        last: name of the member before, for messages.
        everywhere: what global headers say of all members after them; those that are met here add to it.
    """
    start, described, before = at, {}, set()  # types of the headers that describe the member
    while True:
        block = bytes(data[at : at + BLOCK])
        if block == _ZEROS:
            _check_end(data, at, last)
            if before:
                raise TarDamage("the member that the last header describes is missing", at, last)
            return None
        if len(block) < BLOCK:
            if at == 0 and block:
                raise NoTar(_packed(block) or f"it is no tar, with {len(block)} bytes")
            raise TarDamage(_cut(len(data), at), at, last)
        header, content = _header(block, at, last), at + BLOCK
        if not before:
            start = at
        if header.type not in _DESCRIBING:
            return _Headers(header, start, content, everywhere | described)
        if header.size > _LONGEST_NAME:
            raise TarDamage(f"a name of {header.size:,} bytes", at, last)
        at = _after(content, header.size, len(data), start, "a long name", last)
        # Of a long name other readers take whole blocks, up to its zero.
        text = bytes(data[content : at if header.type == b"L" else content + header.size])
        if header.type in before:
            raise TarDamage(
                "the member that the last header describes is missing: another such header follows", at, last
            )
        before |= {header.type} - {b"g"}
        (everywhere if header.type == b"g" else described).update(_description(header, text, start, last))


def _description(header: tarfile.TarInfo, text: bytes, start: int, last: str) -> dict[str, str]:
    """Parse what a header of PAX or GNU tar says of the members after it."""
    if header.type == b"L":
        return {"path": _text(text.split(b"\0", 1)[0])}
    if header.type == b"K":
        return {"linkpath": ""}  # of no use here, but the next member belongs to it
    return _pax(text, start, last)


def _header(block: bytes, at: int, last: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        if at == 0:
            raise NoTar(_packed(block) or "it is no tar") from error
        raise TarDamage("the header is damaged, and what follows cannot be found", at, last) from error
    if header.size < 0:
        raise TarDamage("the header is damaged (a size below zero)", at, last)
    return header


def _packed(block: bytes) -> str:
    """What to do with a file that is compressed, by its first bytes; empty: it is not."""
    for magic, name, command in _PACKERS:
        if block.startswith(magic):
            return f"it is compressed, with {name}: unpack it, as with `{command}`, for shards are read at any byte"
    return ""


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
        if key in ("path", "size") or key.startswith("GNU.sparse"):  # the others may be many, and come with each member
            found[key] = _text(value).rstrip("/") if key == "path" else _text(value)
        place = end
    return found


def _number(said: str | None, otherwise: int, at: int, last: str) -> int:
    if said is None:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,18}", said):
        raise TarDamage("the header is damaged (its size is no number)", at, last)
    return int(said)
