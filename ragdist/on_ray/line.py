"""Rank 0's line to the driver: progress there, the word to stop back."""

import threading
import time

import ray

SECONDS = 0.25  # between two messages


class Line:
    """Stands in for `progress.Progress` in a worker, and asks whether to stop.

    Args:
        desk: the actor.
        attempt: this attempt's number.
    """

    def __init__(self, desk, attempt: int):
        self.desk, self.attempt = desk, attempt
        self.done, self.text = -1, ""
        self.stop = False
        self._lines: list[str] = []
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._talk, name="line", daemon=True)
        self._thread.start()

    def begin(self, done: int) -> None:
        self.done = done

    def advance(self, count: int) -> None:
        self.done += count

    def describe(self, text: str = "") -> None:
        self.text = text

    def say(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)

    def close(self) -> None:
        """Send what is left."""
        self._end.set()
        self._thread.join()
        self._tell()

    def _talk(self) -> None:
        while not self._end.wait(SECONDS):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        try:
            self.stop = ray.get(self.desk.tell.remote(self.attempt, self.done, self.text, lines), timeout=30)
        except ray.exceptions.RayError:  # the driver is gone, or cut off: Ray ends this process, or the network heals
            time.sleep(1)
