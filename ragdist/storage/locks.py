"""File locks between processes, held until a context or the process ends."""

import errno
import functools
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ragdist.storage.files import os_errors_as_user_error, write_whole
from ragdist.tools.errors import Unreachable

# What file systems say that have no locks: some of FUSE, NFS without its lock daemon, Lustre without -o flock.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}

_SETTLING = 2.0  # seconds in which commands that begin at one moment have written who they are


class Busy(Exception):
    """Another process holds a lock, or held it for longer than one would wait; the text says which."""


def me() -> str:
    """A description of this process, for messages."""
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def locked(
    path: Path, note: str = "", *, seconds: float = 0, unless: Callable[[], bool] | None = None, warn: bool = True
) -> Iterator[bool]:
    """A file's lock, held until the context or this process ends; the file stays, its first line says who held it last.

    On a file system without locks nothing is held, which is said once, and the context gives False.

    Args:
        path: the file; made where there is none.
        note: its second line.
        seconds: to wait for another process; infinite: without an end.
        unless: asked while waiting; true ends it.
        warn: say so where there are no locks.

    Raises:
        Busy: another process holds it.
        OSError: the file cannot be made or written.
    """

    text = _text(note).encode()

    def sign(descriptor: int) -> None:  # at no moment is there no note: whose note it is others may ask meanwhile
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))

    lock = FileLock(
        path, thread_local=False, fallback_to_soft=False, preserve_lock_file=True, on_acquired=sign, poll_interval=0.05
    )
    try:
        lock.acquire(timeout=-1 if seconds == math.inf else seconds, cancel_check=unless)
    except Timeout as error:
        raise Busy(_holder(path)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        write_whole(path, text)
        if warn:
            _warn(str(path.parent), os.strerror(error.errno))
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _settle(path: Path, note: str) -> None:
    """Wait until all that began at this moment have written their note where there are no locks: the last one goes on.

    Raises:
        Busy: that is another one.
    """
    time.sleep(_SETTLING)
    if path.read_text(errors="replace") != _text(note):
        raise Busy(_holder(path))


def _text(note: str) -> str:
    return f"{me()}\n{note}\n"


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace").partition("\n")[0].strip() or "another process"
    except OSError:
        return "another process"


@functools.cache
def _warn(folder: str, why: str) -> None:
    print(
        f"warning: {folder} is on a file system without locks ({why}): "
        "see to it yourself that no two commands write there at once",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def locked_folder(folder: Path, what: str, note: str = "") -> Iterator[None]:
    """A folder, made where there is none, locked by its file "lock" until the context or this process ends.

    On a file system without locks the last command to begin goes on, and of those that begin at one moment no other.

    Args:
        folder: whose file says who uses it, and in its second line ``note``.
        what: what cannot be written where the system refuses, as "the run".

    Raises:
        Unreachable: another process uses it.
        UserError: it cannot be written.
    """
    with ExitStack() as held:
        with os_errors_as_user_error(f"cannot write {what} to {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                if not held.enter_context(locked(folder / "lock", note)):
                    _settle(folder / "lock", note)
            except Busy as error:
                raise Unreachable(f"{folder} is in use by {error}: wait for it or stop it") from error
        yield
