"""A process that works for the one that started it: Ctrl-C is left to that one, and its end is this one's."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading


def follow_parent() -> None:
    """Ignore Ctrl-C, and end when the process that asked for this one ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Not the parent that the system knows: it may be a fork server, which outlives a killed command.
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
