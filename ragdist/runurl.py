"""A run whose --out is a URL: its files lie in a local folder and are kept in step with an object store.

Files are uploaded whole, in the background. A checkpoint counts once its manifest is there, which goes
last; it is deleted manifest first. So whatever breaks off, the newest one with a manifest is whole.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ragdist import checkpoint, settings
from ragdist.config import Config
from ragdist.data.store import Store, scheme, service
from ragdist.errors import UserError
from ragdist.lease import LOCK, lease, token_of
from ragdist.ownership import abandoned, owner_name
from ragdist.rundir import RunFolder
from ragdist.runplace import Claim, compare, summary_of

_PREFIX, _KEPT = "ragdist-run-", "ragdist-not-uploaded-"  # names of local folders
_CONTINUED = ("metrics.jsonl", "evaluations.jsonl", "best.safetensors")  # files that a run goes on from
PUSH = 30.0  # seconds between two looks for changed files


class UrlPlace:
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
    def claimed(self, config: Config, *, overwrite: bool) -> Iterator[Claim]:
        """Create the run or continue it; a lock with signs of life keeps others out until the context ends.

        Raises:
            UserError: another process uses it, it cannot be written, or it holds a run of another configuration.
        """
        claim = Claim()
        with lease(self.remote.store, claim):
            self._prepare(config, overwrite)
            yield claim

    def _prepare(self, config: Config, overwrite: bool) -> None:
        saved = self.remote.read(settings.CONFIG)
        names = [name for name in self.remote.list() if name != LOCK]
        if overwrite:
            self.remote.remove(sorted(name for name in names if _is_of_a_run(name)))
        elif saved is not None:
            compare(self.url, config, settings.loads(saved.decode(), f"{self.url}/{settings.CONFIG}"))
        elif any(name.startswith("checkpoints/") for name in names):
            raise UserError(f"{self.url} holds checkpoints but no {settings.CONFIG}: restore it, or --overwrite")
        self.remote.write(settings.CONFIG, settings.dumps(config).encode())

    @contextmanager
    def opened(self, config: Config) -> Iterator[RunFolder]:
        """A local folder with what a run goes on from; what changes in it is uploaded until the context ends.

        If the last upload fails, the folder stays, and the error names it.
        """
        _sweep()
        local = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{owner_name()}."))
        mirror = _Mirror(self.remote, local, config.checkpoint.keep)
        keep = False
        try:
            mirror.pull()
            with mirror.following():
                yield mirror.folder
            keep = True
            mirror.finish()
            keep = False
        except UserError as error:
            if not keep:
                raise
            kept = local.rename(local.with_name(local.name.replace(_PREFIX, _KEPT)))
            raise type(error)(f"{error}; what was not uploaded is in {kept}") from error
        finally:
            if not keep:
                shutil.rmtree(local, ignore_errors=True)

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run."""
        data = self.remote.read("summary.json")
        return summary_of(data) if data else None

    def token(self) -> str | None:
        """Whose claim this node sees here."""
        return token_of(self.remote.read(LOCK))

    def delete(self) -> None:
        """Delete all of it; nobody has claimed it."""
        self.remote.remove(self.remote.list())

    def probe(self, name: str) -> None:
        """Write a file and delete it.

        Raises:
            UserError: that is not possible here.
        """
        self.remote.write(f".probe-{name}", b"ragdist")
        self.remote.remove([f".probe-{name}"])


def _sweep() -> None:
    """Delete the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition(".")[0]
        if abandoned(owner, _last_change(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def _last_change(folder: Path) -> float:
    """When anything in a folder was changed last, by time.time()."""
    with suppress(OSError):  # it goes
        return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
    return time.time()


def _is_of_a_run(name: str) -> bool:
    top = name.partition("/")[0]
    files = (settings.CONFIG, "generator.safetensors", "best.safetensors", "metrics.jsonl", "summary.json")
    files += ("evaluations.jsonl", "evaluation.json", "evaluation.html")
    return top in ("checkpoints", "samples", *files) or top.startswith("events.out.tfevents.")


class RemoteFolder:
    """The files under a URL; every request is tried again while its errors may pass.

    Raises, all of its methods:
        UserError: access is denied, or the attempts are used up.
    """

    def __init__(self, url: str):
        self.url = url
        self.store = Store(url)
        service(url).check(url)

    def read(self, name: str) -> bytes | None:
        try:
            return self.store.read(name)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        with self._explained():
            self.store.write(name, data)

    def put(self, local: Path, name: str) -> None:
        """Upload a file; FileNotFoundError if it is not there any more."""
        with self._explained(local):
            self.store.upload(local, name)

    @contextmanager
    def _explained(self, local: Path | None = None) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if local and not local.exists():
                raise
            raise UserError(f"{self.url}: there is no such bucket or container: make it, or mend --out") from error

    def get(self, name: str, local: Path) -> None:
        local.parent.mkdir(parents=True, exist_ok=True)
        self.store.fetch(name, self.store.stat(name)[0], local)

    def list(self) -> list[str]:
        """Names of all files below, sorted."""
        return sorted(self.store.list())

    def remove(self, names: "list[str]") -> None:
        """Delete files, in this order; those that are gone already are fine."""
        for name in names:
            with suppress(FileNotFoundError):
                self.store.delete(name)


class _Mirror:
    """Keeps a remote run in step with a local folder."""

    def __init__(self, remote: RemoteFolder, local: Path, keep: int):
        self.remote, self.local, self.keep = remote, local, keep
        self.folder = _MirroredFolder(local, self)
        self._whole: set[str] = set()  # remote checkpoints that have their manifest
        self._pushed: dict[str, tuple[int, int]] = {}  # size and time of what was uploaded
        self._now, self._end, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._idle.set()
        self._trouble: UserError | None = None

    def pull(self) -> None:
        """Fetch the newest whole checkpoint, broken newer ones, metrics, evaluations and sample grids.

        Raises:
            UserError: something cannot be fetched.
        """
        names = self.remote.list()
        for path in (self.folder.checkpoints, self.folder.samples):
            path.mkdir(parents=True)
        for name in names:
            if name in _CONTINUED or name.startswith("samples/"):
                self.remote.get(name, self.local / name)
        # One without a manifest is an upload or a deletion that broke off.
        self._whole = {name.split("/")[1] for name in names if name.endswith("/manifest.json")}
        for step in sorted(self._whole, reverse=True):
            for name in names:
                if name.startswith(f"checkpoints/{step}/"):
                    self.remote.get(name, self.local / name)
            if checkpoint.damage(self.folder.checkpoints / step) is None:
                break
        self._pushed = self._files()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Upload what changes, in the background."""
        thread = threading.Thread(target=self._follow, name="upload", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._now.set()
            thread.join()

    def finish(self) -> None:
        """Upload what is left.

        Raises:
            UserError: it cannot be, or an earlier upload failed for good.
        """
        self.check()
        self._push()

    def wait(self) -> None:
        """Wait until the checkpoint before is uploaded: if it were deleted meanwhile, none would ever be.

        Raises:
            UserError: an upload failed for good.
        """
        self._idle.wait()
        self.check()

    def saved(self) -> None:
        """A checkpoint was written: upload it."""
        self._idle.clear()
        self._now.set()

    def check(self) -> None:
        if self._trouble:
            raise self._trouble

    def _follow(self) -> None:
        ended = False
        while not ended:
            self._now.wait(PUSH)
            self._now.clear()
            ended = self._end.is_set()
            if ended and self._idle.is_set():
                return
            try:
                self._push()
            except UserError as error:
                self._trouble = error
            except Exception as error:  # a library's
                self._trouble = UserError(f"{self.remote.url} cannot be written ({type(error).__name__}: {error})")
            self._idle.set()
            if self._trouble:
                return

    def _files(self) -> dict[str, tuple[int, int]]:
        """Finished files by name, and what tells whether they changed."""
        found = {}
        for folder, folders, files in os.walk(self.local):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = Path(folder) / name
                try:
                    stat = path.stat()
                except FileNotFoundError:  # an old checkpoint, deleted meanwhile
                    continue
                if not name.startswith("."):
                    found[str(path.relative_to(self.local))] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _push(self) -> None:
        self.folder.fence()
        files = self._files()
        steps = sorted({name.split("/")[1] for name in files if name.startswith("checkpoints/")})
        for step in steps[-1:]:  # older ones are of no use once this one is there
            self._push_checkpoint(step, files)
        rest = [name for name in files if not name.startswith("checkpoints/")]
        for name in sorted(rest, key=lambda name: (name == "summary.json", name)):
            if self._pushed.get(name) != files[name]:
                with suppress(FileNotFoundError):
                    self.remote.put(self.local / name, name)
                    self._pushed[name] = files[name]

    def _push_checkpoint(self, step: str, files: dict[str, tuple[int, int]]) -> None:
        names = [f"checkpoints/{step}/{name}" for name in ("state.pt", "meta.json", "manifest.json")]
        if all(self._pushed.get(name) == files.get(name) for name in names):
            return
        try:
            for name in names:
                self.remote.put(self.local / name, name)
                self._pushed[name] = files[name]
        except (FileNotFoundError, KeyError):  # deleted meanwhile
            return
        self._whole.add(step)
        spared = {checkpoint.path_of(self.local, images).name for images in self.folder.spared}
        for old in sorted(known for known in self._whole if known <= step and known not in spared)[: -self.keep]:
            gone = ("manifest.json", "meta.json", "state.pt")  # the manifest first: a rest has none
            self.remote.remove([f"checkpoints/{old}/{name}" for name in gone])
            self._whole.discard(old)


class _MirroredFolder(RunFolder):
    def __init__(self, path: Path, mirror: _Mirror):
        super().__init__(path)
        self._mirror = mirror

    def before_saving(self) -> None:
        self._mirror.wait()
        super().before_saving()

    def saved(self) -> None:
        self._mirror.saved()
