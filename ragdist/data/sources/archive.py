"""Tars (also compressed) and zips of samples' files, read by byte ranges: nothing is extracted by its name."""

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.folder import grouped
from ragdist.data.sources.source import Source
from ragdist.tools.errors import UserError

_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_LARGEST = 2**30  # bytes of a file; more is damage or an attack
_CORRUPT = (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, ValueError)


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open an archive of files, with classes from its folders."""
    path = Path(name).absolute()
    kind = "zip" if zipfile.is_zipfile(path) else "tar"
    try:
        if kind == "tar" and not tarfile.is_tarfile(path):
            raise UserError(f"{name} is no tar and no zip: give one of a folder of class folders")
        names, places, read = _zip(path) if kind == "zip" else _tar(path, scratch)
    except _CORRUPT as error:
        raise UserError(f"{name} cannot be read as a {kind}, it may be cut off ({error}): get it again") from error
    return grouped(name, names, places, read, stamp(path), options)


def stamp(path: Path) -> str:
    """A file's identity: it changes when the file does."""
    status = path.stat()
    return hashlib.sha256(
        f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape")
    ).hexdigest()


class Ranges:
    """Reads ``size`` bytes at ``offset`` of a file, which each process opens at its first read."""

    def __init__(self, path: Path):
        self.path, self._file = path, None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def __call__(self, place: tuple[int, ...]) -> bytes:
        offset, size = place
        if size > _LARGEST:
            raise ValueError(f"it has {size:,} bytes, more than a sample can")
        if self._file is None:
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - open for as long as the process
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise ValueError("the archive is cut off")
        return data


def _tar(path: Path, scratch: Path) -> tuple[list[str], list[Any], Ranges]:
    with open(path, "rb") as file:
        head = file.read(6)
    if packed := next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None):
        path = _unpack(path, packed, scratch)  # a compressed file has no byte ranges
    with tarfile.open(path, "r:") as tar:
        ranges = {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
    return list(ranges), list(ranges.values()), Ranges(path)


def _unpack(path: Path, opener, scratch: Path) -> Path:
    """Decompress an archive; one that an interrupted command has left is taken."""
    plain = scratch / f"source-{stamp(path)}.tar"
    if not plain.exists():
        part = plain.with_suffix(".part")
        with opener(path) as packed, open(part, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        part.rename(plain)
    return plain


class ZipRanges(Ranges):
    """Reads members of a zip at (offset of the local header, packed size, size, method, CRC-32)."""

    def __call__(self, place: tuple[int, ...]) -> bytes:
        offset, packed, size, method, crc32 = place
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in an unusual way: pack the zip again, stored or deflated")
        if size > _LARGEST:
            raise ValueError(f"it has {size:,} bytes, more than a sample can")
        name, extra = struct.unpack("<26x2H", super().__call__((offset, 30)))
        data = super().__call__((offset + 30 + name + extra, packed))
        if method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)  # never more than was announced
            except zlib.error as error:
                raise ValueError(str(error)) from error
        if len(data) != size or zlib.crc32(data) != crc32:
            raise ValueError("its bytes are damaged in the zip")
        return data


def _zip(path: Path) -> tuple[list[str], list[Any], ZipRanges]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    if locked := next((member for member in members if member.flag_bits & 1), None):
        raise UserError(f"{path} is encrypted ({locked.filename}): unpack it first")
    places = [(m.header_offset, m.compress_size, m.file_size, m.compress_type, m.CRC) for m in members]
    return [member.filename for member in members], places, ZipRanges(path)
