"""The place of a run: a folder on a file system, or a URL whose files are kept in step with a local folder.

One process claims it for as long as a run lives: the training process, or the driver of a Ray job. Rank
0 opens it, which may be on another node after every restart.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragdist import migrations, settings
from ragdist.config import Config
from ragdist.data.store import scheme
from ragdist.errors import UserError
from ragdist.files import explain, write_whole
from ragdist.locks import locked_folder
from ragdist.rundir import RunFolder


class Claim:
    """The right to write to a run."""

    def __init__(self, seen: Callable[[], str | None] = lambda: None):
        self.token = uuid.uuid4().hex  # in the run's file "lock"
        self.seen = seen  # looks up whose token is there now; None: it cannot be seen
        self.lost = False  # whether someone else took it: at a URL, or in a folder of a file system without locks

    def check(self) -> None:
        """Raises UserError if it is lost."""
        self.lost = self.lost or self.seen() not in (None, self.token)
        if self.lost:
            raise UserError("another process took this run over and goes on with it: this one stopped")


def place_of(out: str) -> "FolderPlace":
    """The place that --out names."""
    if scheme(out) is None:
        return FolderPlace(out)
    from ragdist.runurl import UrlPlace

    return UrlPlace(out)


def compare(out: str, config: Config, saved: dict[str, Any]) -> None:
    """Refuse to continue a run of another configuration."""
    if changed := settings.differences(config, saved):
        raise UserError(
            f"{out} holds a run of another configuration ({'; '.join(changed)}): "
            "give the same options to continue it, another --out, or --overwrite to start anew"
        )


def summary_of(text: str | bytes) -> dict[str, Any]:
    """What summary.json says, whichever version wrote it."""
    return migrations.RECORDS.migrated(json.loads(text), "summary.json")


class FolderPlace:
    """A folder that every node of the run sees."""

    def __init__(self, out: str):
        self.path = Path(out)
        self.folder = RunFolder(self.path)

    @contextmanager
    def claimed(self, config: Config, *, overwrite: bool) -> Iterator[Claim]:
        """Create the folder or continue it, locked until the context or this process ends.

        Raises:
            Unreachable: another process uses it.
            UserError: it cannot be written, or it holds a run of another configuration.
        """
        claim = Claim(self.token)
        with locked_folder(self.path, "the run", claim.token):
            with explain(f"cannot write the run to {self.path}"):
                self._prepare(config, overwrite)
            yield claim

    def _prepare(self, config: Config, overwrite: bool) -> None:
        folder = self.folder
        if overwrite:
            _clear(folder)
        elif folder.config.is_file():
            compare(str(self.path), config, settings.read(folder.config))
        elif folder.checkpoints.exists():
            raise UserError(f"{self.path} holds checkpoints but no {settings.CONFIG}: restore it, or --overwrite")
        write_whole(folder.config, settings.dumps(config))
        folder.checkpoints.mkdir(exist_ok=True)
        folder.samples.mkdir(exist_ok=True)

    @contextmanager
    def opened(self, config: Config) -> Iterator[RunFolder]:
        """The folder, to read and write; on one process at a time."""
        yield self.folder

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run."""
        return summary_of(self.folder.summary.read_text()) if self.folder.summary.is_file() else None

    def token(self) -> str | None:
        """Whose claim this node sees here."""
        try:
            os.listdir(self.path)  # over NFS a look into the folder renews what this node knows of its files
            lines = (self.path / "lock").read_text().splitlines()
        except OSError:
            return None
        return lines[1] if len(lines) > 1 else None

    def delete(self) -> None:
        """Delete all of it; nobody has claimed it."""
        shutil.rmtree(self.path)

    def probe(self, name: str) -> None:
        """Write a file and delete it.

        Raises:
            UserError: that is not possible here.
        """
        with explain(f"cannot write the run to {self.path}"):
            file = self.path / f".probe-{name}"
            file.touch()
            file.unlink(missing_ok=True)


def _clear(folder: RunFolder) -> None:
    """Delete what a run writes, and nothing else that may lie in the folder."""
    for path in (folder.checkpoints, folder.samples):
        shutil.rmtree(path, ignore_errors=True)
    for file in (folder.config, folder.generator, folder.best, folder.metrics, folder.summary):
        file.unlink(missing_ok=True)
    for pattern in ("events.out.tfevents.*", "evaluation.*", "evaluations.jsonl"):
        for file in folder.path.glob(pattern):
            file.unlink()
