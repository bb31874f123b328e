"""Files that are written whole or not at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragdist.tools.errors import UserError
from ragdist.tools.ownership import abandoned, owner_name, parse

_PART = ".part-"  # in the name of a file that is being written: .NAME.part-OWNER.RANDOM


def sync(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the folder's entries (new names, renames) are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file so that after any interruption it holds the old content or the new, never a part."""
    part = path.with_name(f".{path.name}{_PART}{owner_name()}.{uuid.uuid4().hex[:8]}")
    try:
        part.write_bytes(data if isinstance(data, bytes) else data.encode())
        sync(part)
        part.rename(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Delete what processes that were killed have left of `write_whole` in a folder."""
    for part in folder.glob(f".*{_PART}*"):
        owner = part.name.rpartition(_PART)[2].partition(".")[0]
        with suppress(OSError):  # another one sweeps, too
            if parse(owner) and part.is_file() and abandoned(owner, part.stat().st_mtime):
                part.unlink()


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal, and so a harmless file name."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


_REASONS = {
    errno.ENOSPC: "the disk is full: make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up: make room and run the same command again",
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "permission denied: choose a folder that you may write to",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "a folder of the path does not exist and cannot be made: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EBUSY: "it is a mount point: choose a folder in it",
    errno.EXDEV: "it is a mount point: choose a folder in it",
    errno.EEXIST: "a part of the path is a file: choose another folder",
    errno.EISDIR: "a folder is in the place of a file: move it away",
    errno.ENOTEMPTY: "a folder is in the place of a file: move it away",
    errno.ENAMETOOLONG: "a name is too long for the file system: choose a shorter one",
    errno.EFBIG: "a file grew to the size that the system allows (ulimit -f): raise that",
    errno.EIO: "the disk, or the connection to it, fails (Input/output error): run the same command once it works",
    errno.ESTALE: "the server of the file system has lost it (Stale file handle): run the same command once it works",
    errno.ENOTCONN: "the file system is not connected any more: run the same command once it is",
    errno.ENODEV: "the disk is gone: run the same command once it is there",
    errno.ENXIO: "the disk is gone: run the same command once it is there",
}


@contextmanager
def os_errors_as_user_error(what: str) -> Iterator[None]:
    """Turn the operating system's refusal to write into a `UserError` that starts with ``what``; a context."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise UserError(f"{what}: {_REASONS[error.errno]}") from error


@contextmanager
def discard_on_error(folder: Path, what: str) -> Iterator[None]:
    """Delete the half-written ``folder`` after an error, and raise as `os_errors_as_user_error` does; a context."""
    try:
        with os_errors_as_user_error(what):
            yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
