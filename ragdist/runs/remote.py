"""A run in an object store, mirrored from a local folder.

Files are uploaded whole, in the background. A checkpoint counts once its manifest is there, which goes
last; it is deleted manifest first. So whatever breaks off, the newest one with a manifest is whole.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ragdist.config import Config, division, settings
from ragdist.runs.folder import RunFolder
from ragdist.runs.lease import Lease, compare
from ragdist.runs.local import summary_of
from ragdist.runs.mirror import Mirror, RemoteFolder
from ragdist.runs.remote_lease import LOCK, hold, token_of
from ragdist.storage.locks import Busy, locked
from ragdist.storage.store import scheme
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import abandoned, owner_name

_WORTH_KEEPING = ("generator.safetensors", "best.safetensors", "summary.json")
_PREFIX, _KEPT = "ragdist-run-", "ragdist-not-uploaded-"  # names of local folders
_IN_USE = ".lock"  # in a local folder


class RemoteRun:
    """A run in an object store.

    Args:
        out: its URL.

    Raises:
        UserError: a URL of a kind that is not supported, or whose package is missing.
    """

    def __init__(self, out: str):
        self.url = out.rstrip("/")
        if scheme(out) in ("http", "https"):
            raise UserError(f"--out {out}: nothing can be written there; give a path or an object store, as s3://...")
        self.remote = RemoteFolder(self.url)

    @contextmanager
    def leased(self, config: Config, *, overwrite: bool) -> Iterator[Lease]:
        """Lease the run: create or continue it; a lock that is renewed keeps others out until the context ends.

        A configuration that names no number of logical workers gets that of the run that it continues.

        Raises:
            UserError: another process uses it, it cannot be written, or it holds a run of another configuration.
        """
        lease = Lease()
        with hold(self.remote.store, lease):
            self._prepare(config, overwrite)
            yield lease

    def _prepare(self, config: Config, overwrite: bool) -> None:
        text = self.remote.read(settings.CONFIG)
        saved = None
        if text is not None and not overwrite:
            # Which refuses what is no run's.
            saved = settings.loads(text.decode(errors="replace"), f"{self.url}/{settings.CONFIG}")
        names = [name for name in self.remote.list() if name != LOCK]
        trained = any(name.startswith("checkpoints/") or name in _WORTH_KEEPING for name in names)
        if overwrite or (saved is not None and not trained):  # a start that came to nothing is nobody's
            self.remote.remove(sorted(name for name in names if _is_of_a_run(name)))
        elif saved is not None:
            division.settle(config, saved)
            compare(self.url, config, saved)
        elif any(name.startswith("checkpoints/") for name in names):
            raise UserError(f"{self.url} holds checkpoints but no {settings.CONFIG}: restore it, or --overwrite")
        self.remote.write(settings.CONFIG, settings.dumps(config).encode())

    @contextmanager
    def opened(self, config: Config, token: str = "") -> Iterator[RunFolder]:
        """Open a local mirror of the run; changes in it are uploaded until the context ends.

        If something could not be uploaded the folder stays, and the error names it.

        Args:
            config: the run's configuration.
            token: the fencing token of its lease: once another one is there nothing is uploaded; empty: not looked at.
        """
        _sweep()
        local = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{owner_name()}."))
        held = Lease(self.token, token).check if token else lambda: None
        mirror = Mirror(self.remote, local, config.checkpoint.keep, held)
        try:
            with locked(local / _IN_USE, warn=False):
                mirror.pull()
                with mirror.following():
                    yield mirror.folder
                mirror.finish()
        except UserError as error:
            if not mirror.behind:
                mirror.send_rest()
                raise
            raise type(error)(f"{error}; what was not uploaded is in {_keep(local)}") from error
        except BaseException as error:  # of ours, or Ctrl-C
            if mirror.behind:
                print(f"what was not uploaded is in {_keep(local)}", file=sys.stderr)
            elif isinstance(error, Exception):
                mirror.send_rest()
            raise
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def summary(self) -> dict[str, Any] | None:
        """Read the summary of a finished run; None where there is none."""
        data = self.remote.read("summary.json")
        return summary_of(data) if data else None

    def begun(self) -> dict[str, Any] | None:
        """Read the options of a run that has a checkpoint; None where there is none."""
        text = self.remote.read(settings.CONFIG)
        if text is None or not any(name.startswith("checkpoints/") for name in self.remote.list()):
            return None
        return settings.loads(text.decode(errors="replace"), f"{self.url}/{settings.CONFIG}")

    def token(self) -> str | None:
        """The fencing token that this node sees in the run's lock."""
        return token_of(self.remote.read(LOCK))

    def delete(self) -> None:
        """Delete the run, which nobody may hold."""
        self.remote.remove(self.remote.list())

    def probe(self, name: str) -> None:
        """Write a file and delete it.

        Raises:
            UserError: that is not possible here.
        """
        self.remote.write(f".probe-{name}", b"ragdist")
        self.remote.remove([f".probe-{name}"])


def _keep(local: Path) -> Path:
    """Rename a mirror, so that nobody deletes it; its new path."""
    return local.rename(local.with_name(local.name.replace(_PREFIX, _KEPT)))


def _sweep() -> None:
    """Delete local mirrors of processes that were killed: of none that is locked, whatever its name and age say."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition(".")[0]
        if abandoned(owner, _last_change(folder)):
            with suppress(Busy, OSError), locked(folder / _IN_USE, warn=False):
                shutil.rmtree(folder, ignore_errors=True)


def _last_change(folder: Path) -> float:
    """When anything in a folder was changed last, by time.time()."""
    with suppress(OSError):  # it goes
        return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
    return time.time()


def _is_of_a_run(name: str) -> bool:
    top = name.partition("/")[0]
    files = (
        settings.CONFIG,
        "generator.safetensors",
        "best.safetensors",
        "metrics.jsonl",
        "wandb.json",
        "summary.json",
    )
    files += ("evaluations.jsonl", "evaluation.json", "evaluation.html")
    return top in ("checkpoints", "samples", *files) or top.startswith("events.out.tfevents.")
