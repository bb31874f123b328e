"""Tars (also compressed) and zips of samples' files, read by byte ranges: nothing is extracted by its name."""

import bz2
import gzip
import hashlib
import io
import lzma
import mmap
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ragdist.config.shards import ShardOptions
from ragdist.data.indexing.tar_walk import NoTar, TarDamage, walk
from ragdist.data.sources.grouping import grouped
from ragdist.data.sources.names import paths
from ragdist.data.sources.source import Remarks, Source
from ragdist.data.sources.strange import advice
from ragdist.tools.errors import UserError

_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
LARGEST = 2**30  # bytes of a file; more is damage or an attack
_CORRUPT = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, ValueError)


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open an archive of files, with classes from label files in it or from its folders."""
    path = Path(name).absolute()
    remarks = Remarks()
    if not _begins_like_a_tar(path) and zipfile.is_zipfile(path):
        from ragdist.data.sources.zip_members import zipped

        files, read = zipped(name, path, remarks)
    else:
        files, read = _tar(name, path, scratch, remarks)
    return grouped(name, files, read, stamp(path), options, remarks)


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
        if size > LARGEST:
            raise ValueError(f"it has {size:,} bytes, more than a sample can")
        data = os.pread(self._descriptor(), size, offset) if offset >= 0 else b""
        if len(data) != size:
            raise ValueError("the archive is cut off")
        return data

    def open(self, place: tuple[int, ...]) -> BinaryIO:
        """The bytes as a file, for what may be large."""
        return io.BufferedReader(Range(self._descriptor(), *place), 1 << 16)

    def _descriptor(self) -> int:
        if self._file is None:
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - open for as long as the process
        return self._file.fileno()


class Range(io.RawIOBase):
    """A range of an open file's bytes as a file."""

    def __init__(self, descriptor: int, offset: int, size: int):
        self._descriptor, self._offset, self._size, self._at = descriptor, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence], 0)
        return self._at

    def readinto(self, buffer) -> int:
        count = min(len(buffer), max(self._size - self._at, 0))
        data = os.pread(self._descriptor, count, self._offset + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _begins_like_a_tar(path: Path) -> bool:
    """Whether the first bytes are a tar's: then a zip's end at its end is that of its last member."""
    with open(path, "rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return True
    except (tarfile.HeaderError, ValueError):
        return False


def _tar(name: str, path: Path, scratch: Path, remarks: Remarks) -> tuple[dict[str, Any], Ranges]:
    with open(path, "rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
    if packed := next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None):
        try:
            path = _unpack(path, packed, scratch)  # a compressed file has no byte ranges
        except _CORRUPT as error:
            raise UserError(f"{name} cannot be unpacked, it may be cut off ({error}): get it again") from error
        with open(path, "rb") as file:
            head = file.read(tarfile.BLOCKSIZE)
    try:
        members = _members(path, remarks)
    except NoTar as error:
        raise UserError(f"{name} {advice(name, head)}") from error
    except TarDamage as damage:
        raise UserError(f"{name}: {damage}; the tar is damaged or cut off: get it again, or pack it again") from damage
    names, places = [name for name, *_ in members], [(offset, size) for _, offset, size in members]
    return paths(names, places, remarks), Ranges(path)


def _members(path: Path, remarks: Remarks) -> list[tuple[str, int, int]]:
    """(name, offset, bytes) of the regular files in a plain tar."""

    def passed(kind: str, name: str) -> None:
        advice = " (tar --dereference --hard-dereference packs files in their place)" if "links" in kind else ""
        remarks.count(f"{kind} in the tar, not read{advice}", name)

    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            raise TarDamage("it is empty", 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            return [(member.name, member.offset, member.size) for member in walk(view, passed)]


def _unpack(path: Path, opener, scratch: Path) -> Path:
    """Decompress an archive; one that an interrupted command has left is taken."""
    plain = scratch / f"source-{stamp(path)}.tar"
    if not plain.exists():
        part = plain.with_suffix(".part")
        with opener(path) as packed, open(part, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        part.rename(plain)
    return plain
