"""The channel from rank 0 to the driver: progress there, the request to stop back."""

import os
import threading
import time

import ray

from ragdist.tools.errors import Unreachable

SECONDS = 0.25  # between two messages
ANSWER = 10.0  # seconds that an answer may take
SILENCE = 40.0  # seconds without one, at most, after which this process is cut off: the run goes on elsewhere


class DriverChannel:
    """A `progress.Progress` in a worker that reports to the driver, and asks whether to stop.

    A process that is cut off, or that learns that the run goes on elsewhere, ends at once: what it would write
    then would be beside the new workers' files.

    Args:
        mailbox: the actor.
        attempt: this attempt's number.
        silence: seconds without an answer of the mailbox's, after which this process ends.
    """

    def __init__(self, mailbox, attempt: int, silence: float = SILENCE):
        self.mailbox, self.attempt, self.silence = mailbox, attempt, silence
        self.done, self.text = -1, ""
        self.stop = False
        self._lines: list[str] = []
        self._answered = time.monotonic()
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._talk, name="driver-channel", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="driver-channel-watch", daemon=True).start()

    def begin(self, done: int) -> None:
        """Begin to report, at ``done`` samples."""
        self.done = done

    def advance(self, count: int) -> None:
        """Count samples."""
        self.done += count

    def describe(self, text: str = "") -> None:
        """Report the count, with a text beside it."""
        self.text = text

    def say(self, line: str) -> None:
        """Have the driver print a line."""
        with self._lock:
            self._lines.append(line)

    def close(self) -> None:
        """Send what is left."""
        self._end.set()
        self._thread.join()
        self._tell()

    def fence(self) -> None:
        """Check that this attempt may still write. Raises Unreachable where the driver does not answer."""
        try:
            allowed = ray.get(self.mailbox.may_write.remote(self.attempt), timeout=ANSWER)
        except ray.exceptions.RayError as error:
            raise Unreachable("rank 0 is cut off from the driver: it may not write") from error
        if not allowed:
            os._exit(1)

    def _talk(self) -> None:
        while not self._end.wait(SECONDS):
            self._tell()

    def _watch(self) -> None:
        # A thread of its own, to the end of the process: where that is cut off, a call of Ray's may never return, one
        # while it closes neither. After a proper end Ray ends the process long before this does.
        while time.monotonic() - self._answered < self.silence:
            time.sleep(1)
        os._exit(1)

    def _tell(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        try:
            said = ray.get(self.mailbox.tell.remote(self.attempt, self.done, self.text, lines), timeout=ANSWER)
        except Exception:  # whatever it is, the next one may get through
            with self._lock:
                self._lines = lines + self._lines
            time.sleep(1)
            return
        if said is None:
            os._exit(1)
        self._answered, self.stop = time.monotonic(), said
