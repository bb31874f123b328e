"""Limits that the system sets to a process, and what it says where one is reached."""

import errno
import resource

_UNLIMITED = 2**20


def open_files() -> int:
    """How many files a process may have open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def reached(error: BaseException) -> str | None:
    """What a process ran out of, and what helps, where an error says so; None where it says something else."""
    number, text = getattr(error, "errno", None), str(error)
    if number in (errno.EMFILE, errno.ENFILE) or "items of ancdata" in text or "Too many open files" in text:
        return f"too many open files: this system lets a process have {open_files():,} (ulimit -n): raise that"
    if (isinstance(error, OSError) and number == errno.EAGAIN) or "can't start new thread" in text:
        return "no further process or thread can be started: raise what this user may have (ulimit -u)"
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "the memory that a process may have is used up: raise it (ulimit -v), or end what else needs it"
    if isinstance(error, OSError) and number == errno.EFBIG:
        return "a file grew to the size that the system allows: raise that (ulimit -f)"
    if "No usable temporary directory" in text:
        return "no temporary folder can be written to: make room in /tmp, or name another one by TMPDIR"
    return None
