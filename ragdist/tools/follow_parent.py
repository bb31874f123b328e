"""Child processes that end with their parent, however it ends.

``python -m ragdist.tools.follow_parent MODULE ...`` is ``python -m MODULE ...`` for a command that another process
starts, with a pipe as its standard input: when that ends, the command is asked to stop, as by SIGTERM.
"""

import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess

# What asks a command to stop. `timeout`, batch systems and terminals send it to all of its processes; the command alone
# decides what comes of it.
_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that are started in this context never hear Ctrl-C, SIGTERM and SIGHUP; this one does, at its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        # Whose start would let signals through in the middle of another's. It ignores two of the three by itself.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Deaf:
    """A process that is ended by its parent alone, and its fork server likewise."""

    def start(self) -> None:
        with unheard():
            super().start()
        # Python itself asks daemons to stop when it exits, and then waits for their end.
        self._popen.terminate = self._popen.kill


class _Spawned(_Deaf, SpawnProcess): ...


class _Forked(_Deaf, ForkServerProcess): ...


class _Spawn(SpawnContext):
    Process = _Spawned


class _ForkServer(ForkServerContext):
    Process = _Forked


def start_context(preload: Sequence[str] | None = None) -> multiprocessing.context.BaseContext:
    """The way to start processes: never by a fork of this one, which copies locks of other threads in any state.

    They do not hear the signals that ask a command to stop, and `follow_parent` ends them with it.

    Args:
        preload: modules that are imported once, by the server from which all are forked; None: each process imports
            what it needs. So it is on macOS, whose system libraries do not stand a fork, of a server either.
    """
    with unheard():  # the tracker of semaphores, which a queue would start before any process is
        pass
    if preload is None or sys.platform == "darwin":
        return _Spawn()
    context = _ForkServer()
    context.set_forkserver_preload(list(preload))
    return context


def follow_parent(until: Connection | None = None) -> None:
    """End when the process that asked for this one ends, however it does.

    Args:
        until: the end of a pipe, whose closing at the other end ends this process, too.
    """
    # Not the parent that the system knows: it may be a fork server, which outlives a killed command.
    ends = [multiprocessing.parent_process().sentinel, *([until] if until else [])]
    threading.Thread(target=_end_with, args=(ends,), daemon=True).start()


def _end_with(ends: list) -> None:
    multiprocessing.connection.wait(ends)
    os._exit(1)


def _stop_with_input(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the module on the command line, which is asked to stop when standard input ends."""
    # Not the standard input itself: nothing in the command is to read from the pipe, or to close it.
    pipe = os.dup(sys.stdin.fileno())
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    threading.Thread(target=_stop_with_input, args=(pipe,), daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
