"""The work folder of half-written shards: one process at a time writes there, and the same command continues.

lock       held by the process that writes
plan.json  what the shards are made of and how; another plan starts anew
shards/    finished shards and their tables; it becomes OUT by a rename
records/   one file a finished shard, the last of it to appear
pieces/    of shards that are not finished
scratch/   what a source has to unpack
"""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.sources.source import Numbered, Source
from ragdist.data.writing.pack import Record
from ragdist.storage.files import write_whole
from ragdist.storage.locks import Busy, locked
from ragdist.tools import plugins
from ragdist.tools.errors import UserError

LOCK = "lock"
_BYTES_DEPEND_ON = ("shard_samples", "seed")  # and the modality's own options
# So do options that joined later, with what everything was before. The plan names them only where they are something
# else: so what an earlier version has half written is gone on with.
_ALSO: dict[str, Any] = {}


class WorkFolder:
    """A work folder that this process has locked."""

    def __init__(self, root: Path):
        self.root = root
        self.shards, self.records, self.pieces, self.scratch = (
            root / name for name in ("shards", "records", "pieces", "scratch")
        )
        for folder in (self.shards, self.records, self.scratch):
            folder.mkdir(exist_ok=True)

    def resume(self, plan: str) -> dict[str, Record]:
        """Finished shards of this plan by name; those of another plan are deleted."""
        path = self.root / "plan.json"
        if path.is_file() and path.read_text() != plan:
            if self.begun:
                print("starting anew: the shards that were half-written here are of another source or other options")
            for folder in (self.shards, self.records):
                shutil.rmtree(folder)
                folder.mkdir()
        write_whole(path, plan)
        shutil.rmtree(self.pieces, ignore_errors=True)
        self.pieces.mkdir()
        records = {record.name: record for file in self.records.glob("*.json") if (record := self._record(file))}
        whole = {"", *(name for record in records.values() for name in (record.name, record.table))}
        for file in self.shards.iterdir():  # what was being written when the last process ended
            if file.name not in whole:
                file.unlink()
        return records

    def _record(self, file: Path) -> Record | None:
        """Read a record; None where the shard is no longer what it says."""
        try:
            content = json.loads(file.read_text())
            record = Record(**content | {"skipped": tuple(content["skipped"])})
        except (ValueError, TypeError, KeyError):
            return None
        if record.uploaded or not record.samples:
            return record
        tar, table = self.shards / record.name, self.shards / record.table
        return record if tar.is_file() and tar.stat().st_size == record.bytes and table.is_file() else None

    @property
    def begun(self) -> bool:
        """Whether there is a finished shard."""
        return any(self.records.glob("*.json"))


@contextmanager
def locked_work_folder(root: Path, out: str) -> Iterator[WorkFolder]:
    """Lock the work folder ``root`` for this process. It is deleted in the end, except after an error if there
    are finished shards in it.

    Raises:
        UserError: another process writes ``out``.
    """
    with ExitStack() as held:
        try:
            _enter(held, root)
        except Busy as error:
            raise UserError(f"{out} is being written by {error}: wait for it or end it") from error
        work = WorkFolder(root)
        try:
            yield work
        except BaseException:
            if work.begun:
                print(f"finished shards are kept in {root}: the same command continues", flush=True)
            else:
                _delete(root)
            raise
        _delete(root)


def _enter(held: ExitStack, root: Path) -> None:
    while True:
        root.mkdir(parents=True, exist_ok=True)
        # The moment is for a process that has just finished, and deletes the folder with the lock in it.
        with suppress(FileNotFoundError):
            held.enter_context(locked(root / LOCK, seconds=0.1))
            return


def _delete(root: Path) -> None:
    """Delete the folder, its lock last: who makes it anew must not lose what is in it."""
    with suppress(OSError):
        for path in root.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)
        (root / LOCK).unlink(missing_ok=True)
        root.rmdir()


def plan(source: Source, options: ShardOptions, sample_options: Any, learned: Any = None) -> str:
    """Everything that the shards' bytes depend on, as text.

    ``learned``: what `Making.fit` made of the options; None: nothing.
    """
    content = hashlib.sha256(source.identity.encode(errors="surrogateescape"))
    for part in (source.names, source.labels, source.classes):
        text = repr(part) if isinstance(part, Numbered) else "\0".join(map(str, part))
        content.update(f"{len(part)}\0{text}\0".encode("utf-8", "surrogateescape"))
    values = asdict(options)
    own = {  # one that has the name of the command's own is not that one
        f"{source.modality}.{name}" if name in values else name: value for name, value in asdict(sample_options).items()
    }
    also = {name: values[name] for name, before in _ALSO.items() if values[name] != before}
    if files := sorted(plugin.sha256 for plugin in plugins.loaded()):  # which say how payloads are made, it may be
        also |= {"modality": source.modality, "plugins": files}
    if learned is not None:
        also |= {"modality": source.modality, "learned": hashlib.sha256(pickle.dumps(learned, protocol=4)).hexdigest()}
    return json.dumps(
        {
            "source": content.hexdigest(),
            "options": own | {name: values[name] for name in _BYTES_DEPEND_ON} | also,
            **modalities.making(source.modality).depends,
        }
    )
