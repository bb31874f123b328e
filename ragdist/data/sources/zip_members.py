"""Members of a zip, listed by its directory and read by byte ranges."""

import bz2
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from ragdist.data.sources.archive import LARGEST, Ranges
from ragdist.data.sources.names import paths
from ragdist.data.sources.source import Remarks
from ragdist.tools.errors import UserError

_WINDOWS = (0, 10, 11, 14)  # systems where names may be divided by a backslash: FAT, NTFS (11 by Info-ZIP), VFAT
_UTF8 = 1 << 11  # flag: the name is in UTF-8, else in code page 437, it says


def _inflated(data: bytes, size: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)


def _bunzipped(data: bytes, size: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, size + 1)


def _unlzma(data: bytes, size: int) -> bytes:
    """Unpack what begins with two bytes of version, the size of LZMA's properties, and these."""
    length = struct.unpack_from("<2xH", data)[0]
    lc_lp_pb, dictionary = struct.unpack_from("<BI", data, 4)
    if length != 5 or lc_lp_pb >= 9 * 5 * 5 or dictionary > LARGEST:
        raise ValueError("no properties of LZMA")
    form = {
        "id": lzma.FILTER_LZMA1,
        "lc": lc_lp_pb % 9,
        "lp": lc_lp_pb // 9 % 5,
        "pb": lc_lp_pb // 45,
        "dict_size": max(dictionary, 4096),
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[form]).decompress(data[9:], size + 1)


# Never more than a byte above what the directory announces.
_METHODS: dict[int, Callable[[bytes, int], bytes]] = {
    zipfile.ZIP_STORED: lambda data, size: data,
    zipfile.ZIP_DEFLATED: _inflated,
    zipfile.ZIP_BZIP2: _bunzipped,
    zipfile.ZIP_LZMA: _unlzma,
}
_UNREAD_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}


class ZipRanges(Ranges):
    """Reads members of a zip at (offset of the local header, packed size, size, method, CRC-32)."""

    def __call__(self, place: tuple[int, ...]) -> bytes:
        offset, packed, size, method, crc32 = place
        if size > LARGEST:
            raise ValueError(f"it has {size:,} bytes, more than a sample can")
        name, extra = struct.unpack("<26x2H", super().__call__((offset, 30)))
        data = super().__call__((offset + 30 + name + extra, packed))
        try:
            data = _METHODS[method](data, size)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, struct.error) as error:
            raise ValueError(f"its bytes are damaged in the zip ({error})") from error
        if len(data) != size or zlib.crc32(data) != crc32:
            raise ValueError("its bytes are damaged in the zip")
        return data

    def open(self, place: tuple[int, ...]) -> BinaryIO:
        """A member as a file; one that is packed is unpacked first."""
        return io.BytesIO(self(place))


def zipped(where: str, path: Path, remarks: Remarks) -> tuple[dict[str, Any], ZipRanges]:
    """The files of a zip, path inside of it -> place, and what reads them.

    Raises:
        UserError: it is damaged, encrypted, or compressed in a way that is not read.
    """
    try:
        members = _directory(where, path, remarks)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error) as error:
        raise UserError(f"{where} cannot be read as a zip, it may be cut off ({error}): get it again") from error
    if locked := next((member for member in members if member.flag_bits & 1), None):
        raise UserError(f"{where} is encrypted ({locked.filename}): unpack it first")
    if odd := next((member for member in members if member.compress_type not in _METHODS), None):
        how = _UNREAD_METHODS.get(odd.compress_type, f"method {odd.compress_type}")
        raise UserError(f"{where}: {odd.filename} is compressed by {how}: pack the zip again, stored or deflated")
    names = [_name(member, remarks) for member in members]
    places = [(m.header_offset, m.compress_size, m.file_size, m.compress_type, m.CRC) for m in members]
    return paths(names, places, remarks, lambda i: members[i].create_system in _WINDOWS), ZipRanges(path)


def _directory(where: str, path: Path, remarks: Remarks) -> list[zipfile.ZipInfo]:
    """The files that a zip's directory names, without folders and links."""
    with zipfile.ZipFile(path) as archive:
        every = archive.infolist()
    first = min((member.header_offset for member in every), default=0)
    with open(path, "rb") as file:
        announced = _announced(file)
        if announced not in (None, len(every) % 2**16):
            raise ValueError(f"its directory announces {announced:,} members and names {len(every):,}")
        file.seek(0)
        if first > 0 and file.read(4) == b"PK\x03\x04":
            remarks.say(f"{where}: its directory names nothing in its first {first:,} bytes, which are not read")
    found = []
    for member in every:
        kind = member.external_attr >> 16
        if member.filename.endswith(("/", "\\")):
            if member.file_size:
                remarks.count("folders with content in the zip, which is not read", member.filename)
        elif stat.S_ISLNK(kind):
            remarks.count("symbolic links in the zip, not read", member.filename)
        else:
            found.append(member)
    return found


def _announced(file: IO[bytes]) -> int | None:
    """How many members a zip's end says that it has; None: it does not fit in there."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 22 - 2**16))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    count = struct.unpack_from("<10xH", tail, at)[0]
    return None if count == 2**16 - 1 else count


def _name(member: zipfile.ZipInfo, remarks: Remarks) -> str:
    """A member's name; in UTF-8 where it is, for many programs write that and do not say so."""
    name = member.filename
    if name.isascii() or member.flag_bits & _UTF8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        remarks.count("files whose names are in an encoding that the zip does not say, read as code page 437", name)
        return name
