"""The mailbox: an actor through which the driver and the workers of a run talk.

Workers are other processes on other nodes, with other ranks after every restart; what they print goes to
Ray's logs. So rank 0 reports here a few times a second and takes the driver's request to stop back, and the driver
prints.
"""

from typing import Any, NamedTuple


class WorkerReport(NamedTuple):
    """The state of an attempt, as the driver reads it."""

    done: int  # samples seen, of the present attempt; -1: no update yet
    text: str  # what stands beside the progress
    lines: list[str]  # to print
    workers: dict[int, dict[str, Any]]  # by rank: node, address, process, placement group
    refused: str | None  # a user's mistake, found by a worker
    transient_error: str | None  # what another try may overcome
    outcome: dict[str, Any] | None  # how the training ended


class Mailbox:
    """Messages of one attempt at a time; those of an earlier attempt, whose processes may linger, are dropped."""

    def __init__(self):
        self.attempt = 0
        self._clear()

    def _clear(self) -> None:
        self.done, self.text, self.lines, self.workers = -1, "", [], {}
        self.refused = self.transient_error = self.outcome = None
        self.asked = False

    # The driver's side.

    def open(self, attempt: int) -> None:
        """Begin a new attempt: earlier ones may not write any more."""
        self.attempt = attempt
        self._clear()

    def look(self) -> WorkerReport:
        """The state of the attempt, with the lines that were reported since the last look."""
        lines, self.lines = self.lines, []
        return WorkerReport(self.done, self.text, lines, self.workers, self.refused, self.transient_error, self.outcome)

    def ask_to_stop(self) -> None:
        """Ask the workers to end with a checkpoint after one of the next updates."""
        self.asked = True

    # The workers' side.

    def join(self, attempt: int, rank: int, about: dict[str, Any]) -> None:
        """Report where a rank of the attempt is: node, address, host, process, placement group."""
        if attempt == self.attempt:
            self.workers[rank] = about

    def may_write(self, attempt: int) -> bool:
        """Whether this attempt may write to the run."""
        return attempt == self.attempt

    def tell(self, attempt: int, done: int, text: str, lines: list[str]) -> bool | None:
        """Report progress; returns whether to stop. None: a later attempt has taken over, this process is to end."""
        if attempt != self.attempt:
            return None
        self.done, self.text = done, text
        self.lines += lines
        return self.asked

    def refuse(self, attempt: int, problem: str, passing: bool) -> None:
        """Report a user's mistake, or an error that another attempt may overcome."""
        if attempt != self.attempt:
            return
        if passing:
            self.transient_error = self.transient_error or problem
        else:
            self.refused = self.refused or problem

    def end(self, attempt: int, outcome: dict[str, Any]) -> None:
        """Report how the training ended."""
        if attempt == self.attempt:
            self.outcome = outcome
