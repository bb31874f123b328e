"""A run in a folder that all of its nodes see.

One process leases it for as long as a run lives: the training process, or the driver of a Ray job. Rank 0 opens it,
which may be on another node after every restart.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragdist.config import Config, division, migrations, settings
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.runs.lease import Lease, compare
from ragdist.storage.files import os_errors_as_user_error, sweep, write_whole
from ragdist.storage.locks import locked_folder
from ragdist.tools.errors import UserError


def summary_of(text: str | bytes) -> dict[str, Any]:
    """The content of a run's summary.json, by today's names."""
    return migrations.RECORDS.migrated(json.loads(text), "summary.json")


class LocalRun:
    """A run in a folder that all of its nodes see."""

    def __init__(self, out: str):
        self.path = Path(out)
        self.folder = RunFolder(self.path)

    @contextmanager
    def leased(self, config: Config, *, overwrite: bool) -> Iterator[Lease]:
        """Lease the run: create its folder or continue it, locked until the context or this process ends.

        A configuration that names no number of logical workers gets that of the run that it continues.

        Raises:
            Unreachable: another process uses it.
            UserError: it cannot be written, or it holds a run of another configuration.
        """
        lease = Lease(self.token)
        with locked_folder(self.path, "the run", lease.token):
            with os_errors_as_user_error(f"cannot write the run to {self.path}"):
                self._prepare(config, overwrite)
            yield lease

    def _prepare(self, config: Config, overwrite: bool) -> None:
        folder = self.folder
        for place in (folder.path, folder.samples):
            sweep(place)
        if overwrite:
            _clear(folder)
        elif folder.config.is_file():
            saved = settings.read(folder.config)  # which refuses what is no run's, or a newer version's
            if _trained(folder):
                division.settle(config, saved)
                compare(str(self.path), config, saved)
            else:
                _clear_shown(folder)
        elif checkpoint.listed(folder.checkpoints):
            raise UserError(f"{self.path} holds checkpoints but no {settings.CONFIG}: restore it, or --overwrite")
        write_whole(folder.config, settings.dumps(config))
        folder.checkpoints.mkdir(exist_ok=True)
        folder.samples.mkdir(exist_ok=True)

    @contextmanager
    def opened(self, config: Config, token: str = "") -> Iterator[RunFolder]:
        """Open the folder to read and write, on one process at a time; a context.

        Args:
            config: the run's configuration.
            token: the fencing token of its lease: once another one is there nothing is written; empty: not looked at.
        """
        if token:
            self.folder.fences.append(Lease(self.token, token).check)
        yield self.folder

    def summary(self) -> dict[str, Any] | None:
        """Read the summary of a finished run; None where there is none."""
        return summary_of(self.folder.summary.read_text()) if self.folder.summary.is_file() else None

    def begun(self) -> dict[str, Any] | None:
        """Read the options of a run that has a checkpoint; None where there is none."""
        there = self.folder.config.is_file() and checkpoint.listed(self.folder.checkpoints)
        return settings.read(self.folder.config) if there else None

    def token(self) -> str | None:
        """The fencing token that this node sees in the run's lock."""
        try:
            os.listdir(self.path)  # over NFS a look into the folder renews what this node knows of its files
            lines = (self.path / "lock").read_text().splitlines()
        except OSError:
            return None
        return lines[1] if len(lines) > 1 else None

    def delete(self) -> None:
        """Delete the run, which nobody may hold."""
        shutil.rmtree(self.path)

    def probe(self, name: str) -> None:
        """Write a file and delete it.

        Raises:
            UserError: that is not possible here.
        """
        with os_errors_as_user_error(f"cannot write the run to {self.path}"):
            file = self.path / f".probe-{name}"
            file.touch()
            file.unlink(missing_ok=True)


def _trained(folder: RunFolder) -> bool:
    """Whether a start got as far as to leave what is worth keeping; else the folder may be any run's."""
    found = folder.generator, folder.best, folder.summary
    return bool(checkpoint.listed(folder.checkpoints)) or any(path.exists() for path in found)


def _clear(folder: RunFolder) -> None:
    """Delete what a run writes, and nothing else that may lie in the folder."""
    for path in (folder.checkpoints, folder.samples):
        shutil.rmtree(path, ignore_errors=True)
    for file in (folder.config, folder.generator, folder.best, folder.wandb, folder.summary):
        file.unlink(missing_ok=True)
    for pattern in ("evaluation.*", "evaluations.jsonl"):
        for file in folder.path.glob(pattern):
            file.unlink()
    _clear_shown(folder)


def _clear_shown(folder: RunFolder) -> None:
    """Delete the curves and grids of a run."""
    for pattern in ("events.out.tfevents.*", folder.metrics.name, "samples/samples-*.png"):
        for file in folder.path.glob(pattern):
            file.unlink()
