"""A command on a kernel that refuses locks, as some network file systems do: ``python -m tests.without_flock MODULE ...``.

Linux's filter of system calls (seccomp) answers each flock() of this process and all that it starts with ENOTSUP.
"""

import ctypes
import errno
import platform
import runpy
import struct
import sys

FLOCK = {"x86_64": 73, "aarch64": 32}
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2  # of <sys/prctl.h> and <linux/seccomp.h>
LOAD, EQUAL, RETURN, ERRNO, ALLOW = 0x20, 0x15, 0x06, 0x00050000, 0x7FFF0000


def possible() -> bool:
    return sys.platform == "linux" and platform.machine() in FLOCK


def refuse() -> None:
    steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, FLOCK[platform.machine()])]
    steps += [(RETURN, 0, 0, ERRNO | errno.ENOTSUP), (RETURN, 0, 0, ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SECCOMP, FILTER, ctypes.addressof(head), 0, 0)):
        if libc.prctl(*map(ctypes.c_ulong, arguments)):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
