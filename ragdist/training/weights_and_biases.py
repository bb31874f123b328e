"""A run at Weights & Biases: the same one after every restart, on any machine, and another one for another run.

The identity that W&B knows it by is made once and lies in the run's folder, which a URL carries, too. It belongs to
what was trained: a run that begins with its first sample gets a new one.
"""

import json
import re
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ragdist.config import Config
from ragdist.config.run import flat
from ragdist.runs.folder import RunFolder
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

_TRIAL = re.compile(r"([^/]+)/trials/(\d+)/([^/]+)$")  # a run of a search: its name alone says little


class WandbRun:
    """A run at W&B that takes figures as long as W&B works: what happens to its process does not end the training.

    Args:
        run: `wandb.Run`.
        say: prints a line.
    """

    def __init__(self, run: Any, say: Callable[[str], None]):
        self._run, self._say = run, say

    def log(self, row: dict[str, Any], step: int | None = None) -> None:
        """Log figures, at a step that only goes forward."""
        self._try(lambda run: run.log(row, step=step))

    def finish(self) -> None:
        """Send what is left."""
        self._try(lambda run: run.finish())

    def _try(self, work: Callable[[Any], None]) -> None:
        try:
            if self._run:
                work(self._run)
        except Exception as error:  # of its many
            self._run = None
            if isinstance(error, ConnectionError):  # its process has ended: nothing is left to wait for at the exit
                with suppress(Exception):
                    sys.modules["wandb"].teardown()
            what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._say(f"W&B takes no more figures ({what}): the run goes on, and metrics.jsonl has them all")


def begin(config: Config, folder: RunFolder, seen: int, say: Callable[[str], None] = print) -> WandbRun:
    """Begin, or resume, the run at W&B.

    Args:
        config: the run's configuration.
        folder: the run's folder.
        seen: samples seen at the start.
        say: prints a line.

    Raises:
        UserError: the package is not installed, or W&B cannot be used.
    """
    try:
        import wandb
    except ImportError as error:
        raise UserError("--monitor.wandb needs the package wandb: pip install wandb, or leave it out") from error
    group, name = shown_as(config.out)
    try:
        run = wandb.init(
            project=config.monitor.wandb, id=identity(folder, seen), name=name, group=group, resume="allow",
            config=flat(config),
        )  # fmt: skip
    except wandb.errors.Error as error:
        raise UserError(
            f"--monitor.wandb {config.monitor.wandb}: {' '.join(str(error).split())}; WANDB_MODE=offline keeps it on "
            "this machine"
        ) from error
    return WandbRun(run, say)


def identity(folder: RunFolder, seen: int) -> str:
    """The identity of a folder's run at W&B, which is made where there is none, or where nothing is trained yet."""
    if seen:
        try:
            return str(json.loads(folder.wandb.read_text())["id"])
        except (OSError, ValueError, KeyError, TypeError):  # it was begun without W&B, or before it was kept
            pass
    made = uuid.uuid4().hex
    write_whole(folder.wandb, json.dumps({"id": made}) + "\n")
    return made


def shown_as(out: str) -> tuple[str | None, str]:
    """Group and name of a run at W&B: runs of a search are a group, and named by trial and seed."""
    out = out.rstrip("/")
    if found := _TRIAL.search(out):
        return found[1], f"{found[2]}/{found[3]}"
    return None, out.rpartition("/")[2]
