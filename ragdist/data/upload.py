"""An OUT that is a URL: each shard is uploaded when it is finished, the index last."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragdist.data.pack import Record
from ragdist.data.work import Work
from ragdist.errors import UserError

DELAYS = (1, 2, 4, 8, 16, 32)  # seconds before another try
_AT_ONCE = 4  # uploads; twice as many finished shards wait on the local disk at most
_EXTRAS = {"s3": "ragdist[s3]", "s3a": "ragdist[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_PERMANENT = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, NotImplementedError)


class Remote:
    """A folder anywhere that fsspec reaches.

    Args:
        url: of the folder.
        scratch: local folder for shards on their way; empty: in the user's cache.

    Raises:
        UserError: an unknown protocol, or one whose package is not installed.
    """

    def __init__(self, url: str, scratch: str = ""):
        import fsspec

        self.url = url.rstrip("/")
        protocol = self.url.partition("://")[0]
        try:
            self.fs, self.path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            package = _EXTRAS.get(protocol)
            what = f"pip install '{package}'" if package else str(error)
            raise UserError(f"{url} needs a package for {protocol}:// ({what})") from error
        except ValueError as error:
            raise UserError(f"{url}: {error}") from error
        caches = Path(scratch or "~/.cache/ragdist/uploads").expanduser()
        self.work = caches.absolute() / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.object_store = protocol in _EXTRAS
        self.uploads = ThreadPoolExecutor(_AT_ONCE)
        self.pending: list[Future] = []
        self.closing = threading.Event()

    def check(self, overwrite: bool) -> None:
        """Refuse a place that holds an index, unless it may be overwritten, or that cannot be written to."""
        index, probe = self._at("index.json"), self._at(".ragdist-can-write")
        if not self.object_store:
            self._try("make the folder", lambda: self.fs.makedirs(self.path, exist_ok=True))
        self._try("write to it", lambda: self.fs.pipe_file(probe, b"ragdist"))
        self._try("delete from it", lambda: self.fs.rm_file(probe))
        self.fs.invalidate_cache()
        if not self._try("look into it", lambda: self.fs.exists(index)):
            return
        if not overwrite:
            raise UserError(f"{self.url} already holds an index.json: choose another place, or give --overwrite")

    def begin(self, work: Work, records: dict[str, Record]) -> dict[str, Record]:
        """The records of what need not be written again; an index that is to be overwritten is deleted now."""
        files = self._files()
        if "index.json" in files:
            self._try("delete its index.json", lambda: self.fs.rm_file(self._at("index.json")))
        there = {
            name: record
            for name, record in records.items()
            if not record.uploaded or (files.get(record.name) == record.bytes and record.table in files)
        }
        for record in there.values():
            self.store(work, record)
        return there

    def store(self, work: Work, record: Record) -> None:
        """Begin to upload a finished shard; wait if too many are on their way."""
        if record.uploaded or not record.samples:
            return
        while len(self.pending) >= 2 * _AT_ONCE or (self.pending and self.pending[0].done()):
            self.pending.pop(0).result()
        self.pending.append(self.uploads.submit(self._store, work, record))

    def _store(self, work: Work, record: Record) -> None:
        for name in (record.name, record.table):
            local = str(work.shards / name)
            self._try(f"upload {name}", lambda local=local, name=name: self.fs.put_file(local, self._at(name)))
        replace(record, uploaded=True).save(work.records)
        for name in (record.name, record.table):
            (work.shards / name).unlink()

    def finish(self, work: Work, index: str, names: set[str]) -> None:
        """Wait for all uploads, delete shards of an earlier time, and upload the index."""
        while self.pending:
            self.pending.pop(0).result()
        for old in self._files().keys() - names:
            if old.startswith("shard-") and old.endswith((".tar", ".npy")):
                self._try(f"delete {old}", lambda old=old: self.fs.rm_file(self._at(old)))
        self._try("upload index.json", lambda: self.fs.pipe_file(self._at("index.json"), index.encode()))

    def close(self) -> None:
        self.closing.set()
        self.uploads.shutdown(wait=True, cancel_futures=True)

    def _at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def _files(self) -> dict[str, int]:
        """Names and sizes of what is there."""
        self.fs.invalidate_cache()

        def listing() -> list[dict[str, Any]]:
            try:
                return self.fs.ls(self.path, detail=True)
            except FileNotFoundError:  # an object store knows no empty folders
                return []

        found = self._try("list it", listing)
        return {entry["name"].rstrip("/").rpartition("/")[2]: entry.get("size") or 0 for entry in found}

    def _try(self, what: str, action: Callable[[], Any]) -> Any:
        """The action's result, after as many tries as `DELAYS` allows for errors that may pass."""
        delays = list(DELAYS)
        while True:
            try:
                return action()
            except Exception as error:  # every protocol has its own
                passing = not isinstance(error, _PERMANENT) and "Credentials" not in type(error).__name__
                if not delays or not passing or self.closing.is_set():
                    why = " ".join(str(error).split())[:200] or type(error).__name__
                    raise UserError(
                        f"{self.url}: cannot {what} ({why}); finished shards are kept, the same command continues"
                    ) from error
                self.closing.wait(delays.pop(0))
