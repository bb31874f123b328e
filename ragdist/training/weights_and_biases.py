"""A run at Weights & Biases: the same one after every restart, on any machine, and another one for another run.

The identity that W&B knows it by is made once and lies in the run's folder, which a URL carries, too. It belongs to
what was trained: a run that begins with its first sample gets a new one.
"""

import json
import re
import uuid
from typing import Any

from ragdist.config import Config
from ragdist.config.run import flat
from ragdist.runs.folder import RunFolder
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

_TRIAL = re.compile(r"([^/]+)/trials/(\d+)/([^/]+)$")  # a run of a search: its name alone says little


def begin(config: Config, folder: RunFolder, seen: int) -> Any:
    """Begin, or resume, the run at W&B.

    Args:
        config: the run's configuration.
        folder: the run's folder.
        seen: samples seen at the start.

    Raises:
        UserError: the package is not installed, or W&B cannot be used.
    """
    try:
        import wandb
    except ImportError as error:
        raise UserError("--monitor.wandb needs the package wandb: pip install wandb, or leave it out") from error
    group, name = shown_as(config.out)
    try:
        return wandb.init(
            project=config.monitor.wandb, id=identity(folder, seen), name=name, group=group, resume="allow",
            config=flat(config),
        )  # fmt: skip
    except wandb.errors.Error as error:
        raise UserError(
            f"--monitor.wandb {config.monitor.wandb}: {' '.join(str(error).split())}; WANDB_MODE=offline keeps it on "
            "this machine"
        ) from error


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
