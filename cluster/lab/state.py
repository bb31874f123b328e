"""The state of a lab on disk, written before anything is made, so that another process can take the lab down."""

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ragdist.storage import files, locks
from ragdist.tools.errors import UserError

# Short, because Ray puts Unix sockets below it and the kernel allows their paths 107 bytes.
ROOT = Path("/run/ragdist-lab")
HEAD = "head"


@dataclass
class Node:
    """A host of a lab."""

    name: str
    number: int  # 0 is the head
    address: str
    process: list[int] | None = None  # PID of `ray start --block`, and its start time in clock ticks
    delay: float = 0.0  # seconds, each way
    rate: float | None = None  # bits per second, each way
    relay: list[int] | None = None  # PID and start time of the process that delays packets


@dataclass
class State:
    """The state of a lab, the content of lab.json in the lab's folder.

    Args:
        name: of the lab.
        id: random; tells it from an earlier or later one of the same name.
        subnet: number of the /24, see `network.subnet`.
        cpus: CPUs that Ray is told a worker node has.
        notice: seconds between a preempted node's SIGTERM and its end.
        object_store: bytes of a node's object store.
        environment: variables that all hosts get in addition.
        python: the interpreter that runs Ray on all hosts.
        nodes: by name, in the order of their making; dead ones stay.
        watcher: PID and start time of the process that waits for the owner's end.
    """

    name: str
    id: str
    subnet: int
    cpus: int
    notice: float
    object_store: int
    environment: dict[str, str]
    python: str = sys.executable
    nodes: dict[str, Node] = field(default_factory=dict)
    watcher: list[int] | None = None

    @property
    def folder(self) -> Path:
        """The lab's folder."""
        return folder(self.name)

    @property
    def token(self) -> Path:
        """The file of the Ray cluster's token."""
        return self.folder / "token"

    def node(self, name: str) -> Node:
        """The node of a name.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self.nodes:
            raise UserError(f"no node '{name}' in the lab '{self.name}'; there are: {', '.join(self.nodes)}")
        return self.nodes[name]

    def save(self) -> None:
        """Write lab.json whole."""
        files.write_whole(self.folder / "lab.json", json.dumps(asdict(self), indent=1))


def folder(name: str) -> Path:
    """The folder of the lab of that name."""
    return ROOT / name


def check_name(name: str) -> None:
    """Check the name of a lab.

    Raises:
        UserError: the name does not fit into paths and sockets' names.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,15}", name):
        raise UserError(f"--name {name}: up to 16 of a-z, 0-9 and '-', please")


def load(name: str) -> State | None:
    """Load the state of the lab of that name; None where there is no lab, or one that died before it wrote any."""
    check_name(name)
    try:
        values = json.loads((folder(name) / "lab.json").read_text())
    except FileNotFoundError:
        return None
    nodes = {key: Node(**node) for key, node in values.pop("nodes").items()}
    return State(**values, nodes=nodes)


def names() -> list[str]:
    """Names of all labs on this machine."""
    return sorted(path.parent.name for path in ROOT.glob("*/lab.json"))


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock of all labs, so that one process at a time makes or changes any; a context."""
    ROOT.mkdir(mode=0o700, exist_ok=True)
    with locks.locked(ROOT / "lock", seconds=math.inf):
        yield


def write_token(path: Path, token: str) -> None:
    """Write a secret to a new file that nobody but this user can read at any moment."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)


def remove(name: str) -> None:
    """Delete a lab's folder; a missing or half deleted one is no error."""
    shutil.rmtree(folder(name), ignore_errors=True)
