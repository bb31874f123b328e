"""Output to a URL: each shard is uploaded when it is finished, the index last."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ragdist.data.writing.pack import Record
from ragdist.data.writing.work_folder import WorkFolder
from ragdist.storage.retry import repeat
from ragdist.storage.store import service
from ragdist.tools.errors import UserError

_AT_ONCE = 4  # uploads; twice as many finished shards wait on the local disk at most

T = TypeVar("T")


class Remote:
    """A folder in an object store, or anywhere that fsspec reaches.

    Args:
        url: of the folder.
        scratch: local folder for shards on their way; empty: in the user's cache.

    Raises:
        UserError: an unknown protocol, or one whose package is not installed.
    """

    def __init__(self, url: str, scratch: str = ""):
        self.url = url.rstrip("/")
        self.service = service(self.url)
        self.service.check(self.url)
        caches = Path(scratch or "~/.cache/ragdist/uploads").expanduser()
        self.work = caches.absolute() / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.uploads = ThreadPoolExecutor(_AT_ONCE)
        self.pending: list[Future] = []
        self.closing = threading.Event()

    def check(self, overwrite: bool) -> None:
        """Refuse a folder that cannot be written to, or that holds an index and may not be overwritten."""
        probe = self._at(".ragdist-can-write")
        self._try("make the folder", lambda: self.service.make_folder(self.url))
        self._try("write to it", lambda: self.service.write(probe, b"ragdist"))
        self._try("delete from it", lambda: self.service.delete(probe))
        if "index.json" in self._files("look into it") and not overwrite:
            raise UserError(f"{self.url} already holds an index.json: choose another place, or give --overwrite")

    def begin(self, work: WorkFolder, records: dict[str, Record]) -> dict[str, Record]:
        """Records of the shards that are uploaded already; an index that is to be overwritten is deleted now."""
        files = self._files()
        if "index.json" in files:
            self._try("delete its index.json", lambda: self.service.delete(self._at("index.json")))
        there = {
            name: record
            for name, record in records.items()
            if not record.uploaded or (files.get(record.name) == record.bytes and record.table in files)
        }
        for record in there.values():
            self.store(work, record)
        return there

    def store(self, work: WorkFolder, record: Record) -> None:
        """Start to upload a finished shard; wait while too many uploads run."""
        if record.uploaded or not record.samples:
            return
        while len(self.pending) >= 2 * _AT_ONCE or (self.pending and self.pending[0].done()):
            self.pending.pop(0).result()
        self.pending.append(self.uploads.submit(self._store, work, record))

    def _store(self, work: WorkFolder, record: Record) -> None:
        for name in (record.name, record.table):
            local, place = work.shards / name, self._at(name)
            self._try(f"upload {name}", lambda local=local, place=place: self.service.upload(local, place))
        replace(record, uploaded=True).save(work.records)
        for name in (record.name, record.table):
            (work.shards / name).unlink()

    def finish(self, work: WorkFolder, index: str, names: set[str]) -> None:
        """Wait for all uploads, delete shards of an earlier time, and upload the index."""
        while self.pending:
            self.pending.pop(0).result()
        for old in self._files().keys() - names:
            if old.startswith("shard-") and old.endswith((".tar", ".npy")):
                self._try(f"delete {old}", lambda old=old: self.service.delete(self._at(old)))
        self._try("upload index.json", lambda: self.service.write(self._at("index.json"), index.encode()))

    def close(self) -> None:
        """End the threads that upload."""
        self.closing.set()
        self.uploads.shutdown(wait=True, cancel_futures=True)

    def _at(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _files(self, what: str = "list it") -> dict[str, int]:
        """Names and sizes of the files in the remote folder."""
        return self._try(what, lambda: self.service.list_files(self.url, deep=False))

    def _try(self, what: str, action: Callable[[], T]) -> T:
        """The action's result, tried again while its errors may pass and all is not given up."""
        try:
            return repeat(action, ending=self.closing)
        except Exception as error:  # every protocol has its own
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"{self.url}: cannot {what} ({why}); finished shards are kept, the same command continues"
            ) from error
