"""Memory: on the CPU let the allocator keep what an update frees; where a device has too little, say what helps."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ragdist.errors import UserError

# glibc's <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Have this process keep freed memory; whether its C library can be told so (glibc: yes).

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
def told(device: torch.device, helps: str) -> Iterator[None]:
    """Turn a device's lack of memory into a `UserError` that ends with what helps."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"the memory of {device} ran out: {helps}") from error
