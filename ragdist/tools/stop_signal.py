"""Ctrl-C, SIGTERM and SIGHUP as a flag that a loop asks."""

import signal
import time

_ECHO = 0.5  # seconds: `timeout` sends its signal to the command and then to the whole group, the command included


class StopOnSignal:
    """A flag: true after the first Ctrl-C, SIGTERM or SIGHUP; a later Ctrl-C or SIGTERM ends at once. A context.

    What nohup made deaf to SIGHUP stays so.
    """

    def __init__(self):
        self.asked = False
        self._at = 0.0

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        if self._before[signal.SIGHUP] == signal.SIG_IGN:
            del self._before[signal.SIGHUP]
        self.listen()
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Install the handlers, again after a library installed its own."""
        for number in self._before:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame) -> None:
        now = time.monotonic()
        # A terminal that closes, and systemd, send SIGHUP beside another.
        if self.asked and number != signal.SIGHUP and now - self._at > _ECHO:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._at = True, now
