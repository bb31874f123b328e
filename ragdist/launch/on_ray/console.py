"""What a run on Ray workers prints: its workers' lines, its progress, and how long starts and recoveries took."""

import time

from ragdist.launch.on_ray.mailbox import WorkerReport
from ragdist.tools.progress import Progress
from ragdist.tools.words import counted


class Console:
    """The terminal of a run on Ray workers, over all of its attempts.

    Args:
        samples: to train on.
        began: when the command began, by time.monotonic().
        ready: when it turned to Ray.
        units: what samples are called.
    """

    def __init__(self, samples: int, *, began: float, ready: float, units: str):
        self.units = units
        self.samples, self.began, self.ready = samples, began, ready
        self.progress: Progress | None = None
        self.furthest = -1  # samples that the run has seen; -1: no update yet
        self.joined_at: float | None = None  # all workers of the first attempt
        self.failed_at: float | None = None  # and no progress since

    def say(self, line: str) -> None:
        """Print a line."""
        self.progress.say(line) if self.progress else print(line, flush=True)

    def show(self, report: WorkerReport, workers: int) -> bool:
        """Print an attempt's progress; whether the run has come further than in any attempt before.

        Args:
            report: the attempt's state.
            workers: the number of the attempt's workers.
        """
        for line in report.lines:
            self.say(line)
        if self.joined_at is None and len(report.workers) == workers:
            self.joined_at = time.monotonic()
        further = report.done > self.furthest
        if further:
            self._say_how_long(workers)
            self.failed_at, self.furthest = None, report.done
        if report.done >= 0:
            self._advance(report)
        return further

    def failed(self) -> None:
        """Begin to count the seconds of a recovery."""
        self.failed_at = self.failed_at or time.monotonic()

    def close(self) -> None:
        """Leave the last line of progress on the terminal."""
        if self.progress:
            self.progress.close()

    def _say_how_long(self, workers: int) -> None:
        now = time.monotonic()
        if self.furthest < 0 and self.joined_at:
            theirs = self.joined_at - self.ready
            self.say(f"training {now - self.began:.1f} s after the start, of which Ray took {theirs:.1f} s")
        elif self.failed_at:
            self.say(
                f"training again with {counted(workers, 'worker')}, {now - self.failed_at:.1f} s after the failure"
            )

    def _advance(self, report: WorkerReport) -> None:
        self.progress = self.progress or Progress(self.samples, done=report.done, unit=self.units)
        self.progress.advance(report.done - self.progress.done)
        if report.text != self.progress.text:
            self.progress.describe(report.text)
