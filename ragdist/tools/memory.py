"""Memory: an allocator that keeps what updates free, and errors that say what helps where a device has too little."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ragdist.tools.errors import UserError

# glibc's <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Let this process's allocator keep freed memory; whether the C library can (glibc: yes).

    By default glibc maps every large block anew from the kernel and gives it back when it is freed, so
    that each activation of each update costs a page fault every 4 KiB: a quarter to a third of the time of an
    update of convolutional networks (`python -m benchmarks.memory`). Training repeats the same sizes,
    so memory that is kept is used again and the peak stays where it was.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 * 2**20), (_ARENA_MAX, 1))
    done = [mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings]
    return all(done)


@contextmanager
def oom_as_user_error(device: torch.device, helps: str) -> Iterator[None]:
    """Turn a device's lack of memory into a `UserError` that ends with what helps; a context."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"the memory of {device} ran out: {helps}") from error
