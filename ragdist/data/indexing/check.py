"""A complete check of a data set: every shard, every table, every sample."""

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ragdist import modalities
from ragdist.config.option import check_limits
from ragdist.config.shards import CheckOptions
from ragdist.data import index as index_file
from ragdist.data.index import INDEX, NO_LABEL, Index, Shard
from ragdist.data.indexing import compare_webdataset
from ragdist.data.indexing.tar_files import Tar, mapped
from ragdist.data.indexing.tar_walk import printable
from ragdist.data.open_shard import name_of
from ragdist.data.parallel import Advance, each
from ragdist.storage.store import Store
from ragdist.tools.errors import TooNew, UserError
from ragdist.tools.progress import Progress

_ROWS = 4096  # packed samples that are looked at in one go


@dataclass(frozen=True)
class Job:
    """One shard to check."""

    store: Store
    index: Index  # with this shard alone
    scratch: Path  # folder for a copy of a remote tar
    reader: str = ""  # another reader of tars that must give the same: webdataset


@dataclass
class Result:
    """Defects of one shard, one line each."""

    samples: int = 0  # that were checked and are right
    wrong: tuple[str, ...] = ()


@dataclass
class Summary:
    """Result of checking a data set."""

    shards: int = 0
    samples: int = 0
    right: int = 0  # samples
    wrong: int = 0  # lines
    wrong_shards: int = 0


def check(where: str, options: CheckOptions, reader: str = "") -> Summary:
    """Check a data set, and print what is broken as it is found, one line each.

    Args:
        where: its folder, by path or URL.
        reader: "webdataset": read the shards with it as well and say what it loses or gives otherwise.

    Raises:
        UserError: there is no data set.
    """
    check_limits(options)
    store = Store(where)
    content = index_file.find(store)
    try:
        index = index_file.loads(content, store.locate(INDEX))
    except TooNew:
        raise
    except UserError as error:  # damage, not the user's mistake
        print(error)
        return Summary(wrong=1)
    summary = Summary(len(index.shards), index.samples)
    progress = Progress(index.samples, unit="samples checked", first=False)
    with TemporaryDirectory(prefix="ragdist-check-") as scratch, closing(progress):
        jobs = [Job(store, replace(index, shards=(shard,)), Path(scratch), reader) for shard in index.shards]
        for result in each(check_shard, jobs, options.processes, progress):
            for line in result.wrong:
                progress.say(line)
            summary.right += result.samples
            summary.wrong += len(result.wrong)
            summary.wrong_shards += bool(result.wrong)
    return summary


def check_shard(job: Job, advance: Advance) -> Result:
    """Find every defect of one shard and its table."""
    (shard,) = job.index.shards
    wrong, table, done = [], None, 0
    try:
        table = _table(job.store, shard)
    except UserError as error:
        wrong.append(str(error))
    try:
        place = job.store.locate(shard.name)
        with _opened(job, shard, wrong) as data:
            if hashlib.sha256(data).hexdigest() != shard.sha256:
                wrong.append(f"{place}: its bytes do not match its SHA-256 in the index")
            if table is not None:
                room = len(data) - np.minimum(table["offset"], len(data))  # of unsigned numbers: no sum may wrap
                inside = (table["offset"] <= len(data)) & (table["length"] <= room)
                if beyond := int((~inside).sum()):
                    wrong.append(f"{place}: {beyond:,} samples lie beyond the end of the file")
                    advance(beyond)
                rows = np.flatnonzero(inside)
                if modalities.row_type(job.index.codec, job.index.form) is not None:
                    right, rows = _sound_rows(data, table, rows, job.index, advance)
                    done += right
                for row in rows.tolist():
                    if reason := _sample(data, table[row], job.index):
                        offset = int(table["offset"][row])
                        key = name_of(table, row, lambda start, length: bytes(data[start : start + length]))
                        wrong.append(f"{place}: sample {row} ({printable(key)}) at byte {offset}: {reason}")
                    else:
                        done += 1
                    advance(1)
                if job.reader:
                    wrong += compare_webdataset.compare(data, place, table, job.index)
    except UserError as error:
        wrong.append(str(error))
    return Result(done, tuple(wrong))


def _table(store: Store, shard: Shard) -> np.ndarray:
    place = store.locate(shard.table)
    try:
        return index_file.table_from(store.read(shard.table), shard, place)
    except FileNotFoundError as error:
        raise UserError(f"{place} is in the index but not there: its samples cannot be found") from error
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}") from error


@contextmanager
def _opened(job: Job, shard: Shard, wrong: list[str]) -> Iterator:
    """The bytes of a shard, mapped."""
    place = job.store.locate(shard.name)
    try:
        size, mark = job.store.stat(shard.name)
    except FileNotFoundError as error:
        raise UserError(f"{place} is in the index but not there") from error
    if size != shard.bytes:
        wrong.append(f"{place} has {size:,} bytes and the index says {shard.bytes:,}: it was cut off or changed")
    local = job.store.path(shard.name)
    with mapped(Tar(str(local.absolute()) if local else place, size, mark), job.scratch) as data:
        yield data


def _sound_rows(data, table: np.ndarray, rows: np.ndarray, index: Index, advance: Advance) -> tuple[int, np.ndarray]:
    """Look at packed samples many at a time: how many are right, and those that have to be looked at one by one."""
    right, left = 0, []
    for first in range(0, len(rows), _ROWS):
        part = rows[first : first + _ROWS]
        records = table[part]
        payloads = [bytearray(data[at : at + size]) for at, size in records[["offset", "length"]].tolist()]
        crcs = np.fromiter(map(zlib.crc32, payloads), np.uint32, len(payloads))
        labels = (records["label"] >= NO_LABEL) & (records["label"] < len(index.classes))
        sound = bool((labels & (crcs == records["crc32"])).all()) and _decoded(payloads, index)
        if not sound:
            left.append(part)
            continue
        right += len(part)
        advance(len(part))
    return right, np.concatenate([rows[:0], *left])


def _decoded(payloads: list[bytearray], index: Index) -> bool:
    try:
        modalities.training(index.codec).decode_all(payloads, index.form)
    except ValueError:
        return False
    return True


def _sample(data, row: np.void, index: Index) -> str:
    """The defect of a sample; empty: none."""
    offset, length = int(row["offset"]), int(row["length"])
    if zlib.crc32(memoryview(data)[offset : offset + length]) != row["crc32"]:
        return "its bytes changed since it was indexed"
    if not NO_LABEL <= row["label"] < len(index.classes):
        return f"its label {row['label']} is none of the {len(index.classes)} classes"
    import torch  # by those who decode; a mistake in the command is said before it is imported

    try:
        payload = torch.frombuffer(data, dtype=torch.uint8, count=length, offset=offset)
        modalities.training(index.codec).decode(payload, index.form)
    except ValueError as error:
        return f"cannot be decoded: {error}"
    return ""
