"""The mirror of a run in an object store: a local folder whose files are uploaded as they change.

An object cannot be appended to. So a file that grows is uploaded anew when it has grown by an eighth, by which all that
is uploaded of it is at most nine times the file; beside a checkpoint too, where it is smaller than that.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.storage.store import Store, service
from ragdist.tools.errors import UserError

_CONTINUED = ("metrics.jsonl", "evaluations.jsonl", "best.safetensors", "wandb.json")  # files that a run goes on from
_GROWING = ("metrics.jsonl", "events.out.tfevents.")  # beginnings of names of files that are appended to
PUSH = 30.0  # seconds between two looks for changed files
_GROWTH, _SMALL = 8, 1 << 16  # a growing file is due when this part of it is new; bytes below which it always is
_LAST = "summary.json"  # says that a run has ended


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
    """The mirror of a local folder in an object store.

    Args:
        remote: the folder in the store.
        local: the folder on this machine.
        keep: the newest checkpoints that are kept there.
        fence: raises UserError where this process may not write there any more.
    """

    def __init__(self, remote: RemoteFolder, local: Path, keep: int, fence: Callable[[], None] = lambda: None):
        self.remote, self.local, self.keep, self._fence = remote, local, keep, fence
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
            self._push(last=True)
        except UserError as error:
            self._error = error
            raise

    def send_rest(self) -> None:
        """Upload what grew since, as far as that is possible: what ended the run is told elsewhere."""
        with suppress(Exception):
            self._push(last=True)

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

    def _push(self, *, last: bool = False) -> None:
        """Upload what is due, a checkpoint after the figures up to it; ``last``: all that changed."""
        self._check()
        files = self._files()
        steps = {name.split("/")[1] for name in files if name.startswith("checkpoints/")}
        newest = max(steps, key=checkpoint.age, default=None)  # older ones are of no use once this one is there
        fresh = [name for name in _parts(newest) if self._pushed.get(name) != files.get(name)] if newest else []
        size = sum(files[name][0] for name in fresh if name in files)  # of a checkpoint that goes now
        rest = [name for name in sorted(files) if not name.startswith("checkpoints/") and name != _LAST]
        for name in rest:
            if last or self._is_due(name, files[name], size):
                self._put(name, files)
        if fresh:
            self._push_checkpoint(newest, files)
        if _LAST in files:
            self._put(_LAST, files)

    def _check(self) -> None:
        self.folder.fence()
        self._fence()

    def _is_due(self, name: str, now: tuple[int, int], checkpoint_size: int) -> bool:
        """Whether a changed file is to be uploaded, or waits until it has grown more."""
        before = self._pushed.get(name, (0, 0))[0]
        if not name.startswith(_GROWING) or now[0] < before:  # it is written whole
            return True
        if checkpoint_size and (name in _CONTINUED or now[0] <= checkpoint_size):
            return True
        return now[0] <= _SMALL or (now[0] - before) * _GROWTH >= now[0]

    def _put(self, name: str, files: dict[str, tuple[int, int]]) -> None:
        if self._pushed.get(name) != files[name]:
            with suppress(FileNotFoundError):
                self.remote.put(self.local / name, name)
                self._pushed[name] = files[name]

    def _push_checkpoint(self, step: str, files: dict[str, tuple[int, int]]) -> None:
        *content, manifest = _parts(step)
        try:
            for name in content:
                self.remote.put(self.local / name, name)
            self._check()  # the others may have taken their time
            self.remote.put(self.local / manifest, manifest)
            self._pushed |= {name: files[name] for name in _parts(step)}
        except (FileNotFoundError, KeyError):  # deleted meanwhile
            return
        self._whole.add(step)
        seen, protected = checkpoint.seen_at(Path(step)), self.folder.protected
        older = [at for at in map(Path, self._whole) if checkpoint.seen_at(at) <= seen]
        free = [at.name for at in older if checkpoint.seen_at(at) not in protected]
        for old in sorted(free, key=checkpoint.age)[: -self.keep]:
            self.remote.remove(_parts(old)[::-1])  # the manifest first: a rest has none
            self._whole.discard(old)


def _parts(step: str) -> list[str]:
    """The files of a checkpoint in the order in which they are uploaded: it counts once its manifest is there."""
    return [f"checkpoints/{step}/{name}" for name in ("state.pt", "meta.json", "manifest.json")]


class _MirroredFolder(RunFolder):
    def __init__(self, path: Path, mirror: Mirror):
        super().__init__(path)
        self._mirror = mirror

    def before_saving(self) -> None:
        self._mirror.wait()
        super().before_saving()

    def saved(self) -> None:
        self._mirror.saved()
