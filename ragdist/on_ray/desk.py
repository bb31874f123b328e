"""The actor through which the driver and the workers of a run talk.

Workers are other processes on other nodes, with other ranks after every restart; what they print goes to
Ray's logs. So rank 0 reports here a few times a second and takes the driver's word back, and the driver
prints.
"""

from typing import Any, NamedTuple


class News(NamedTuple):
    """What the driver learns at a look."""

    done: int  # images seen, of the present attempt; -1: no update yet
    text: str  # what stands beside the progress
    lines: list[str]  # to print
    workers: dict[int, dict[str, Any]]  # by rank: node, address, process
    refused: str | None  # a user's mistake, found by a worker
    trouble: str | None  # what another try may overcome
    outcome: dict[str, Any] | None  # how the training ended


class Desk:
    """Messages of one attempt at a time; those of an earlier one, which may still be dying, are dropped."""

    def __init__(self):
        self.attempt = 0
        self._clear()

    def _clear(self) -> None:
        self.done, self.text, self.lines, self.workers = -1, "", [], {}
        self.refused = self.trouble = self.outcome = None
        self.asked = False

    # The driver's side.

    def open(self, attempt: int) -> None:
        """A new attempt begins: what is left of others may not write any more."""
        self.attempt = attempt
        self._clear()

    def look(self) -> News:
        lines, self.lines = self.lines, []
        return News(self.done, self.text, lines, self.workers, self.refused, self.trouble, self.outcome)

    def ask_to_stop(self) -> None:
        """Have the workers end with a checkpoint after one of the next updates."""
        self.asked = True

    # The workers' side.

    def join(self, attempt: int, rank: int, about: dict[str, Any]) -> None:
        if attempt == self.attempt:
            self.workers[rank] = about

    def may_write(self, attempt: int) -> bool:
        """Whether the run's place is this attempt's."""
        return attempt == self.attempt

    def tell(self, attempt: int, done: int, text: str, lines: list[str]) -> bool | None:
        """Report progress; whether to stop. None: the run goes on elsewhere, this process is to end."""
        if attempt != self.attempt:
            return None
        self.done, self.text = done, text
        self.lines += lines
        return self.asked

    def refuse(self, attempt: int, problem: str, passing: bool) -> None:
        """Report a user's mistake, or trouble that may pass."""
        if attempt != self.attempt:
            return
        if passing:
            self.trouble = self.trouble or problem
        else:
            self.refused = self.refused or problem

    def end(self, attempt: int, outcome: dict[str, Any]) -> None:
        """Report how the training ended."""
        if attempt == self.attempt:
            self.outcome = outcome
