"""The mirror of a run in an object store: a local folder whose files are uploaded as they change."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.storage.store import Store, service
from ragdist.tools.errors import UserError

_CONTINUED = ("metrics.jsonl", "evaluations.jsonl", "best.safetensors", "wandb.json")  # files that a run goes on from
PUSH = 30.0  # seconds between two looks for changed files


class RemoteFolder:
    """The files under a URL; requests are retried while their errors may pass.

    Raises, all of its methods:
        UserError: access is denied, or the attempts are used up.
    """

    def __init__(self, url: str):
        self.url = url
        self.store = Store(url)
        service(url).check(url)

    def read(self, name: str) -> bytes | None:
        """Read a small file; None where there is none."""
        try:
            return self.store.read(name)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small file whole."""
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
        """Fetch a file to a local path."""
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


class Mirror:
    """The mirror of a local folder in an object store."""

    def __init__(self, remote: RemoteFolder, local: Path, keep: int):
        self.remote, self.local, self.keep = remote, local, keep
        self.folder = _MirroredFolder(local, self)
        self._whole: set[str] = set()  # remote checkpoints that have their manifest
        self._pushed: dict[str, tuple[int, int]] = {}  # size and time of what was uploaded
        self._now, self._end, self._moved = threading.Event(), threading.Event(), threading.Condition()
        self._saved = self._done = 0  # checkpoints that were written here, and how many of them uploads have looked at
        self._error: UserError | None = None

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
        manifests = (name.split("/") for name in names if name.endswith("/manifest.json"))
        self._whole = {
            step for folder, step, *rest in manifests if folder == "checkpoints" and checkpoint.NAME.fullmatch(step)
        }
        for step in sorted(self._whole, key=checkpoint.age, reverse=True):
            for name in names:
                if name.startswith(f"checkpoints/{step}/"):
                    self.remote.get(name, self.local / name)
            if checkpoint.damage(self.folder.checkpoints / step) is None:
                break
        self._pushed = self._files()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Upload changes in the background; a context."""
        thread = threading.Thread(target=self._follow, name="upload", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._now.set()
            thread.join()

    def finish(self) -> None:
        """Upload the remaining changes.

        Raises:
            UserError: it cannot be, or an earlier upload failed for good.
        """
        self.check()
        try:
            self._push()
        except UserError as error:
            self._error = error
            raise

    @property
    def behind(self) -> bool:
        """Whether something is here alone and would be lost with the folder."""
        return self._error is not None or self._done < self._saved

    def wait(self) -> None:
        """Wait until the checkpoint before is uploaded: were it deleted meanwhile, none would ever be.

        Raises:
            UserError: an upload failed for good.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._done == self._saved or self._error)
        self.check()

    def saved(self) -> None:
        """Upload a new checkpoint."""
        with self._moved:
            self._saved += 1
        self._now.set()

    def check(self) -> None:
        """Raise the error of an earlier upload that failed for good."""
        if self._error:
            raise self._error

    def _follow(self) -> None:
        ended = False
        while not ended:
            self._now.wait(PUSH)
            self._now.clear()
            ended, saved, problem = self._end.is_set(), self._saved, None
            if ended and self._done == saved:
                return
            try:
                self._push()
            except UserError as error:
                problem = error
            except Exception as error:  # a library's
                problem = UserError(f"{self.remote.url} cannot be written ({type(error).__name__}: {error})")
            with self._moved:
                self._error = problem
                self._done = self._done if problem else saved  # one that was saved meanwhile is for the next upload
                self._moved.notify_all()
            if problem:
                return

    def _files(self) -> dict[str, tuple[int, int]]:
        """Finished files by name, with size and time of change."""
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
        steps = {name.split("/")[1] for name in files if name.startswith("checkpoints/")}
        for step in sorted(steps, key=checkpoint.age)[-1:]:  # older ones are of no use once this one is there
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
        seen, protected = checkpoint.seen_at(Path(step)), self.folder.protected
        older = [at for at in map(Path, self._whole) if checkpoint.seen_at(at) <= seen]
        free = [at.name for at in older if checkpoint.seen_at(at) not in protected]
        for old in sorted(free, key=checkpoint.age)[: -self.keep]:
            gone = ("manifest.json", "meta.json", "state.pt")  # the manifest first: a rest has none
            self.remote.remove([f"checkpoints/{old}/{name}" for name in gone])
            self._whole.discard(old)


class _MirroredFolder(RunFolder):
    def __init__(self, path: Path, mirror: Mirror):
        super().__init__(path)
        self._mirror = mirror

    def before_saving(self) -> None:
        self._mirror.wait()
        super().before_saving()

    def saved(self) -> None:
        self._mirror.saved()
