"""Names for what a process is still writing, by which others know when it is abandoned.

A name is SPACE-PID-START: the process, when it started, and where its number counts. Two containers with one home have
processes of equal numbers, and so has a machine after its next boot; only a process of the same space can say by
the number whether another lives.
"""

import functools
import hashlib
import os
import re
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from ragdist.tools.machine import process_alive, process_started

STALE = 86_400.0  # seconds without a change after which what nobody can be asked about counts as abandoned

_NAME = re.compile(r"([0-9a-f]{12})-([1-9][0-9]{0,9})-([0-9]{1,19})")


class Owner(NamedTuple):
    """The process that a name stands for."""

    space: str  # 12 hexadecimal digits; see `process_space`
    pid: int
    started: int  # clock ticks since the boot; 0: the system does not tell

    def __str__(self) -> str:
        return f"{self.space}-{self.pid}-{self.started}"


def owner_name() -> str:
    """This process's name, fit for a part of a file's name: of letters, digits and hyphens, at most 43 of them."""
    pid = os.getpid()
    return str(Owner(process_space(), pid, process_started(pid) or 0))


def parse(name: str) -> Owner | None:
    """The owner of this name; None if it is none."""
    found = _NAME.fullmatch(name)
    return Owner(found[1], int(found[2]), int(found[3])) if found else None


def abandoned(name: str, changed: float) -> bool:
    """Whether the process of a name has ended, and nobody works on what bears it.

    Args:
        name: an `owner_name`. Anything else is judged as one of another space.
        changed: when what bears it was changed last, by time.time(): what is of another machine, another container or
            another boot counts as abandoned when a day has passed.
    """
    owner = parse(name)
    if owner is None or owner.space != process_space():
        return time.time() - changed > STALE
    return not process_alive(owner.pid, owner.started or None)


@functools.cache
def process_space() -> str:
    """Twelve digits that two processes share only if a number means the same process to both.

    On Linux the boot and the PID namespace tell, on macOS, which has no namespaces, the machine; elsewhere each process
    has a space of its own.
    """
    if sys.platform == "darwin":
        identity = [str(uuid.getnode())]
    else:
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            identity = [boot, os.readlink("/proc/self/ns/pid")]
        except OSError:
            identity = [str(uuid.uuid4())]
    return hashlib.sha256("\0".join([socket.gethostname(), *identity]).encode()).hexdigest()[:12]
