"""The live table of trials on a terminal; elsewhere a line for each step of a trial."""

import json
import math
import sys

from ragdist.config import migrations
from ragdist.runs.folder import RunFolder
from ragdist.tools.live import LiveLines, is_terminal
from tune import folder
from tune.folder import Trial
from tune.state import SearchState

_SHORT = {"objective.lam": "lambda"}


def number(value: object) -> str:
    """An option's or a metric's value in few characters."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def label(name: str) -> str:
    """An option's short name."""
    return _SHORT.get(name, name.rpartition(".")[2])


class Table:
    """The live table of a search. Progress of running trials is read from their runs' folders."""

    def __init__(self, search: SearchState, out=None):
        self.search, self.out = search, out or sys.stdout
        self.live = is_terminal(self.out)
        self._lines: LiveLines | None = None
        self.names = list(dict.fromkeys(["objective.lam", *(axis.name for axis in search.plan.axes)]))
        self._said = {trial.number: _step(trial) for trial in search.trials.values()}
        self._head_said = False

    def show(self) -> None:
        """Draw the table anew, or print what is new."""
        if self.live:
            self._draw(self.rows())
            return
        for trial in sorted(self.search.trials.values(), key=lambda trial: trial.number):
            step = _step(trial)
            if self._said.get(trial.number) != step and (trial.rungs or trial.state != folder.RUNNING):
                if not self._head_said:
                    self._say(self._cells(None))
                    self._head_said = True
                self._say(self._cells(trial))
            self._said[trial.number] = step

    def close(self) -> None:
        """Leave the last state of the table on the terminal."""
        self.show()
        if self._lines:
            self._lines.close()
            self._lines = None

    def rows(self) -> list[str]:
        """The lines of the table."""
        trials = sorted(self.search.trials.values(), key=lambda trial: trial.number)
        return [self._text(self._cells(None)), *(self._text(self._cells(trial)) for trial in trials)]

    def _cells(self, trial: Trial | None) -> list[str]:
        metric = self.search.plan.options.metric
        if trial is None:
            return ["trial", *(label(name) for name in self.names), self.search.units, metric, "state"]
        values = [number(trial.options.get(name, "")) for name in self.names]
        seen = self._seen_by(trial) if trial.state == folder.RUNNING else trial.seen
        state = " ".join(filter(None, (trial.state, f"({trial.name})" if trial.name else "")))
        state += f": {trial.reason}" if trial.reason else ""
        value = number(trial.value) if trial.value is not None else ""
        return [str(trial.number), *values, f"{seen:,}", value, state]

    def _seen_by(self, trial: Trial) -> int:
        """Samples seen by a trial, on average over its seeds."""
        seeds = self.search.plan.options.seeds
        return sum(_seen(self.search, trial.number, seed) for seed in range(seeds)) // seeds

    def _text(self, cells: list[str]) -> str:
        widths = [5, *(max(8, len(label(name))) for name in self.names), 11]
        widths.append(max(8, len(self.search.plan.options.metric)))
        line = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
        return f"{line}  {cells[-1]}"

    def _say(self, cells: list[str]) -> None:
        print(self._text(cells), file=self.out, flush=True)

    def _draw(self, rows: list[str]) -> None:
        self._lines = self._lines or LiveLines(self.out)
        done = sum(trial.state in folder.ENDED for trial in self.search.trials.values())
        rows = [*rows, f"{done} of {self.search.total} trials ended"]
        if len(rows) > (most := self._lines.height - 1):  # what is over is on disk
            rows = [rows[0], *rows[1 - most :]]
        self._lines.draw(*rows)


def _step(trial: Trial) -> tuple[str, int]:
    return trial.state, len(trial.rungs)


def _seen(search: SearchState, trial: int, seed: int) -> int:
    path = RunFolder(search.folder.run(trial, seed)).metrics
    try:
        with open(path, "rb") as file:
            file.seek(max(path.stat().st_size - 4096, 0))
            last = json.loads(file.read().splitlines()[-1])
        return int(migrations.RECORDS.migrated(last, str(path))["samples"])
    except (OSError, ValueError, LookupError):
        return 0
