"""The files of a search's folder, and its lock."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ragdist.config import migrations
from ragdist.storage.files import os_errors_as_user_error, write_whole
from ragdist.storage.locks import locked_folder
from ragdist.tools.errors import UserError

RUNNING, FINISHED, STOPPED, DIVERGED, CRASHED = "running", "finished", "stopped", "diverged", "crashed"
ENDED = (FINISHED, STOPPED, DIVERGED)  # a trial that crashed is tried again when the search continues


@dataclass
class Rung:
    """A rung: a trial's metric after a part of its budget."""

    samples: int
    value: float  # the median of
    values: list[float]  # each seed's
    seconds: float  # that training and judging took since the last rung


@dataclass
class Trial:
    """A trial: one configuration, and its results. On disk: trials/NNNN/trial.json."""

    number: int
    name: str  # of a baseline; empty
    options: dict[str, Any]  # what it has other than the search's configuration
    state: str = RUNNING
    reason: str = ""
    rungs: list[Rung] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Samples of the last rung; 0 before the first."""
        return self.rungs[-1].samples if self.rungs else 0

    @property
    def value(self) -> float | None:
        """The metric at the last rung."""
        return self.rungs[-1].value if self.rungs else None

    def at(self, seen: int) -> Rung | None:
        """The rung of so many samples."""
        return next((rung for rung in self.rungs if rung.samples == seen), None)


def _names(kind: type) -> set[str]:
    return {item.name for item in fields(kind)}


class SearchFolder:
    """The folder of a search.

    search.json         what is searched and how
    trials/NNNN/        a trial: trial.json, and a run for each of its seeds: seed-0/, ...
    trials.csv, best.yaml, report.html      see `results`, `report`
    tensorboard/        the trials' hyperparameters and metrics
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.search = self.path / "search.json"
        self.trials = self.path / "trials"
        self.csv = self.path / "trials.csv"
        self.best = self.path / "best.yaml"
        self.report = self.path / "report.html"
        self.board = self.path / "tensorboard"
        self.scratch = self.path / ".tune"  # Tune's own notes, which nobody reads
        self.stopping = self.path / ".stopping"  # is there while running trials are to end

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder until the context or this process ends.

        Raises:
            Unreachable: another process uses it.
            UserError: it cannot be written.
        """
        with locked_folder(self.path, "the search"):
            with os_errors_as_user_error(f"cannot write the search to {self.path}"):
                self.trials.mkdir(exist_ok=True)
                self.stopping.unlink(missing_ok=True)
            yield

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return self.trials / f"{number:04d}"

    def run(self, number: int, seed: int) -> Path:
        """The run of a trial's seed."""
        return self.trial(number) / f"seed-{seed}"

    def read(self) -> list[Trial]:
        """All trials, by number.

        Raises:
            UserError: one is damaged.
        """
        return [self.read_one(path) for path in sorted(self.trials.glob("*/trial.json"))]

    def read_one(self, path: Path) -> Trial:
        """Read a trial's record. Raises UserError where it is damaged."""
        try:
            content = migrations.RECORDS.migrated(json.loads(path.read_text()), str(path))
            rungs = [migrations.RECORDS.migrated(rung, str(path)) for rung in content["rungs"]]
            unknown = {*content} - _names(Trial) | {key for rung in rungs for key in rung} - _names(Rung)
            migrations.refuse_unknown(sorted(unknown), str(path), None)
            options = migrations.OPTIONS.renamed(content["options"], str(path))
            return Trial(**{**content, "options": options, "rungs": [Rung(**rung) for rung in rungs]})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is damaged: delete {path.parent}, and the trial is made again") from error

    def write(self, trial: Trial) -> None:
        """Write a trial's record."""
        folder = self.trial(trial.number)
        with os_errors_as_user_error(f"cannot write to {self.path} (the same command continues)"):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "trial.json", json.dumps(asdict(trial), indent=1) + "\n")
