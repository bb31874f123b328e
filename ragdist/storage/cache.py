"""A local cache of remote files: named by their content, bounded in size, shared by processes and hosts.

    CACHE/ab/abcdef...      a whole, verified file; its name is its SHA-256
    CACHE/ab/abcdef....part-OWNER.XX    one that is being fetched; renamed when it is verified

A file appears by a rename, so no reader sees a part of one. Locks only save work: where they do not
reach (several hosts on a file system without them), a file is fetched twice and is the same.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ragdist.storage.files import is_sha256, os_errors_as_user_error, sync, sync_folder
from ragdist.storage.locks import Busy, locked
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import abandoned, owner_name

_PART = ".part-"
_PATIENCE = 300.0  # seconds to wait for a lock: longer than that its holder may be stopped
_FETCHES = 2  # of a file that does not match, before it is an error


class Cache:
    """A folder of files named by their SHA-256, at most so many bytes in all.

    Args:
        folder: where; made when it is needed.
        limit: most bytes that are kept; the least recently used files are deleted first. A file in use may be
            deleted: who has it open keeps it, on a local disk. Hosts that share a cache over a network give it
            room for all of the data.
    """

    def __init__(self, folder: Path | str, limit: int):
        self.folder = Path(folder)
        self.limit = limit

    def path(self, sha256: str) -> Path:
        """The path of the file with this SHA-256, whether it is there or not."""
        assert is_sha256(sha256), sha256  # it becomes a file's name
        return self.folder / sha256[:2] / sha256

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def open(
        self, sha256: str, size: int, fetch: Callable[[Path], None], check: Callable[[Path], str | None]
    ) -> BinaryIO:
        """Open the file with this SHA-256, which is fetched first if it is not in the cache.

        Args:
            sha256: of the content.
            size: its bytes (an estimate will do), to make room for it.
            fetch: writes the file to a path.
            check: what is wrong with the file at a path, if anything.

        Raises:
            UserError: it cannot be had, does not match, or there is no room on the disk.
        """
        path = self.path(sha256)
        while True:
            with (
                os_errors_as_user_error(f"cannot read the cache {self.folder}"),
                suppress(FileNotFoundError, NotADirectoryError),  # which are met again where it is to be written
            ):
                file = open(path, "rb")  # noqa: SIM115 - it is the caller's
                with suppress(OSError):
                    os.utime(path)  # it was used now
                return file
            self._add(path, size, fetch, check)

    def drop(self, sha256: str) -> None:
        """Delete a file that turned out to be damaged."""
        self.path(sha256).unlink(missing_ok=True)

    def _add(self, path: Path, size: int, fetch: Callable, check: Callable) -> None:
        if str(self.folder).startswith("~"):  # else a folder of that name would be made here
            raise UserError(f"the cache {self.folder}: there is no such home folder: set HOME, or name another cache")
        with os_errors_as_user_error(f"cannot write to the cache {self.folder}"):
            try:
                self._fill(path, size, fetch, check)
            except FileNotFoundError:  # somebody deleted the folder meanwhile
                self._fill(path, size, fetch, check)

    def _fill(self, path: Path, size: int, fetch: Callable, check: Callable) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(path.with_name(f".{path.name}.lock"), unless=path.exists):
            if path.exists():  # another process fetched it while this one waited
                return
            part = path.with_name(f"{path.name}{_PART}{owner_name()}.{uuid.uuid4().hex[:8]}")
            try:
                with self._locked(self.folder / ".lock"):
                    self._make_room(size)
                    with open(part, "wb") as file:
                        file.truncate(size)  # its place is taken: others make room beside it
                self._fetch(part, fetch, check)
                sync(part)
                part.rename(path)
                sync_folder(path.parent)
            finally:
                part.unlink(missing_ok=True)
        with suppress(OSError):  # a lock's file is only of use while it is held
            path.with_name(f".{path.name}.lock").unlink()

    @staticmethod
    def _fetch(part: Path, fetch: Callable, check: Callable) -> None:
        for attempt in range(_FETCHES):
            fetch(part)
            if (wrong := check(part)) is None:
                return
            if attempt + 1 == _FETCHES:
                raise UserError(
                    f"{wrong}, fetched {_FETCHES} times: it was changed after it was indexed; index it again"
                )

    @contextmanager
    def _locked(self, path: Path, unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Hold a file's lock; go on without it where there are no locks, its holder hangs, or ``unless`` is true."""
        with ExitStack() as held:
            with suppress(Busy):
                held.enter_context(locked(path, seconds=_PATIENCE, unless=unless, warn=False))
            yield

    def _make_room(self, size: int) -> None:
        """Delete the least recently used files until ``size`` more bytes are within the limit."""
        found, total = [], size
        for folder in self.folder.iterdir():
            if not folder.is_dir():
                continue
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):  # another host may delete, too
                    stat = entry.stat()
                    name, part, owner = entry.name.partition(_PART)
                    if not is_sha256(name):  # a lock, or what someone else put here
                        continue
                    if part and abandoned(owner.partition(".")[0], stat.st_mtime):
                        os.unlink(entry.path)
                        continue
                    if not part:
                        found.append((stat.st_mtime, stat.st_size, entry.path))
                    total += stat.st_size
        for _, bytes_, path in sorted(found):
            if total <= self.limit:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= bytes_
