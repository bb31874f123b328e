"""Processes of a network namespace, and single ones that are identified by PID and start time.

A PID alone may by now be another process's; each signal here goes to a process that was identified after
its file descriptor was opened.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ragdist.tools.errors import UserError
from ragdist.tools.machine import process_alive, process_started

CHECKOUT = Path(__file__).resolve().parents[2]
_children: list[subprocess.Popen] = []


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str]) -> list[int]:
    """Start a process that outlives this one and prints to ``log``; returns its identity.

    Raises:
        ProcessLookupError: it is gone at once.
    """
    with open(log, "wb") as output:
        child = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is not for the lab
        )
    _children.append(child)
    return identity(child.pid)


def module(name: str, *arguments: object) -> list[str]:
    """The command line of ``python -m`` a module, to be run in `environment`."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def environment() -> dict[str, str]:
    """This process's environment, with this checkout's modules."""
    return os.environ | {"PYTHONPATH": str(CHECKOUT)}


def reap() -> None:
    """Reap the ended children of this process."""
    _children[:] = [child for child in _children if child.poll() is None]


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, without colours."""
    try:
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    except OSError:
        text = ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def identity(pid: int) -> list[int]:
    """The identity of a process: [PID, start time in clock ticks since the boot].

    Raises:
        ProcessLookupError: there is no such process.
    """
    start = process_started(pid)
    if start is None:
        raise ProcessLookupError(pid)
    return [pid, start]


def alive(process: list[int] | None) -> bool:
    """Whether the process of an identity lives."""
    return process is not None and process_alive(*process)


def send(process: list[int] | None, number: int) -> bool:
    """Send a signal to the process of an identity; False if it is gone."""
    if process is None:
        return False
    try:
        descriptor = os.pidfd_open(process[0])
    except OSError:
        return False
    try:
        if not alive(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def wait_for_end(process: list[int], seconds: float) -> bool:
    """Wait until the process of an identity ends, which need not be a child; whether it did in time."""
    try:
        descriptor = os.pidfd_open(process[0])
    except OSError:
        return True
    try:
        return not alive(process) or bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def inside(namespace: Path) -> list[int]:
    """The PIDs in a network namespace, given by its file; zombies have none."""
    try:
        wanted = namespace.stat()
    except FileNotFoundError:
        return []
    return sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _is_in(int(entry), wanted))


def _is_in(pid: int, namespace: os.stat_result) -> bool:
    try:
        own = os.stat(f"/proc/{pid}/ns/net")
    except OSError:
        return False
    return (own.st_dev, own.st_ino) == (namespace.st_dev, namespace.st_ino)


def kill_inside(namespace: Path, seconds: float = 20) -> None:
    """Kill all processes of a network namespace by SIGKILL, also those that they start meanwhile.

    Raises:
        UserError: some are left after so many seconds, in a system call that cannot be interrupted.
    """
    deadline = time.monotonic() + seconds
    while left := inside(namespace):
        if time.monotonic() > deadline:
            raise UserError(f"the processes {', '.join(map(str, left))} in {namespace} do not die")
        wanted = namespace.stat()
        for pid in left:
            _kill_if_inside(pid, wanted)
        time.sleep(0.02)


def _kill_if_inside(pid: int, namespace: os.stat_result) -> None:
    with suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if _is_in(pid, namespace):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
