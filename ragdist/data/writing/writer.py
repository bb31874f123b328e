"""Writing of a source's items as WebDataset shards with an index: all of it, or nothing.

Shard k holds the items number k S to (k + 1) S - 1 of a random order, less those that cannot be read. So no
shard depends on another: processes write them side by side, and those that are finished stay so.
"""

import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ragdist import modalities
from ragdist.config.option import check_limits
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data import packed
from ragdist.data.index import Index, Shard
from ragdist.data.parallel import Workers
from ragdist.data.sources import open_source
from ragdist.data.sources.source import Source
from ragdist.data.writing.items import Opener, divided, fitted
from ragdist.data.writing.pack import (
    Items,
    Job,
    Packer,
    Piece,
    Record,
    bad_item,
    join_pieces,
    pack_piece,
    pack_shard,
    shard_name,
)
from ragdist.data.writing.upload import Remote
from ragdist.data.writing.work_folder import WorkFolder, locked_work_folder, plan
from ragdist.modalities import joined_options
from ragdist.modalities.base import Form
from ragdist.storage.files import os_errors_as_user_error, sync_folder, write_whole
from ragdist.tools import noise
from ragdist.tools.errors import UserError
from ragdist.tools.machine import cpu_count
from ragdist.tools.progress import Progress
from ragdist.tools.words import with_article

_AT_HAND = 4 * 2**20  # bytes of samples that are written sooner than other processes have started


@dataclass(frozen=True)
class Summary:
    """Result of writing: counts of what was written and of what was left out."""

    index: Index
    skipped: list[str]  # items that could not be read, with the reason
    ignored: list[str]  # files that are no samples by their names
    notes: Counter[str]  # what was done to so many samples, see `Encoded.notes`
    remarks: list[str]  # see `Source.remarks`


def write_shards(
    name: str, out: Path | str, options: ShardOptions, sample_options: Any = None, *, overwrite: bool = False
) -> Summary:
    """Write shards and index to ``out``, a path or a URL, from the source called ``name``.

    ``sample_options`` are those of the source's modality: a `Making.options`, or a mapping from what the command calls
    options to their values, others' among them; what is missing has its default.

    Everything is written elsewhere: a folder ``out`` is complete or absent, a URL without index.json is incomplete.
    After a kill or an error the same call continues, and the result is the same bytes.

    Raises:
        UserError: nothing to read, a bad item, samples that differ, ``out`` in use or not writable.
    """
    check_limits(options)
    remote = "://" in os.fspath(out)
    with os_errors_as_user_error(f"cannot write shards to {out}"):
        target = Remote(str(out), options.scratch) if remote else Local(Path(out))
        with closing(target):
            target.check(overwrite)
            with locked_work_folder(target.work, str(out)) as work:
                target.check(overwrite)  # another process may have finished it before this one had the lock
                source = open_source(name, options, work.scratch)
                own = joined_options.of_writing().of(source.modality, sample_options or {}, name)
                return _write(source, options, own, work, target)


class Local:
    """A local folder as the output: it gets its name when it is complete."""

    def __init__(self, out: Path):
        self.name, self.out = out, Path(os.path.abspath(out))
        self.work = self.out.with_name(f".{self.out.name}.part")

    def check(self, overwrite: bool) -> None:
        """Refuse a folder that holds something and may not be overwritten."""
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())) and not overwrite:
            raise UserError(f"{self.name} already exists and is not empty: choose another folder, or give --overwrite")

    def begin(self, work: WorkFolder, records: dict[str, Record]) -> dict[str, Record]:
        """Records of the shards that need not be written again: all that are finished."""
        return records

    def store(self, work: WorkFolder, record: Record) -> None:
        """Do nothing: a finished shard stays in the work folder until all are."""

    def finish(self, work: WorkFolder, index: str, names: set[str]) -> None:
        """Write the index, and give the work folder's shards their final place."""
        write_whole(work.shards / index_file.INDEX, index)
        old = work.root / "old"
        if self.out.is_dir():
            self.out.rename(old)  # and deleted with the work folder
        elif self.out.exists():
            self.out.unlink()
        work.shards.rename(self.out)
        sync_folder(self.out.parent)
        shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Do nothing: no thread or connection is open."""


def _write(
    source: Source, options: ShardOptions, sample_options: Any, work: WorkFolder, target: Local | Remote
) -> Summary:
    processes = options.processes or cpu_count()
    bad = partial(_refuse_bad, source, options)
    given, sample_options = sample_options, fitted(source, sample_options, bad)
    items, source = source, divided(source, sample_options, processes, bad)
    count, size = len(source.names), options.shard_samples
    learned = None if sample_options is given else sample_options
    records = target.begin(work, work.resume(plan(source, options, given, learned)))
    shards = [shard_name(k) for k in range(-(-count // size))]
    if records:
        print(f"continuing: {len(records):,} of {len(shards):,} shards are finished", flush=True)
    order = noise.permutation(options.seed, noise.WRITER, 0, count)
    folders = (str(work.shards), str(work.records), str(work.pieces))
    about = (source.read, source.modality, options, sample_options)
    packer = Packer(*about, ("", Form(())), *folders, divided=source is not items)
    packer.first, bulk = _first(packer, source, order)
    if count < 5000 and bulk * count < _AT_HAND:
        processes = 1
    left = [k for k, name in enumerate(shards) if name not in records]

    def finished(record: Record) -> None:
        records[record.name] = record
        target.store(work, record)

    dtype, form = packer.row_type, packer.first[1]
    many = 1 if dtype is None else packed.samples_of_a_member(dtype, form)
    _pack(packer, _Jobs(source, order, left, size, processes, many), processes, finished)
    found = [records[name] for name in shards]
    skipped = [line for record in found for line in record.skipped]
    if skipped and options.bad == "fail":  # skipped by an earlier command, which this one continues
        unit = modalities.making(source.modality).unit
        raise UserError(f"{skipped[0]}: it cannot be read as {with_article(unit)}; remove it, or give --bad skip")
    entries = tuple(_entry(record) for record in found if record.samples)
    index = Index(source.modality, form.shape, tuple(source.classes), entries, dict(form.spec))
    assert index.samples == count - len(skipped)
    target.finish(work, index.dumps(), {name for record in found for name in (record.name, record.table)})
    notes = sum((Counter(record.notes) for record in found), Counter())
    said = getattr(modalities.making(source.modality), "remarks", lambda options: [])(sample_options)
    return Summary(index, skipped, source.ignored, notes, [*source.remarks, *said])


def _pack(packer: Packer, jobs: "_Jobs", processes: int, finished: Callable[[Record], None]) -> None:
    """Work through the jobs with a line of progress; ``finished`` is given each shard's record."""
    units = modalities.making(jobs.source.modality).units
    progress = Progress(len(jobs.order), done=len(jobs.order) - jobs.items, unit=units, first=False)

    def advance(samples: int) -> None:
        if samples:
            progress.advance(samples)
            progress.describe()

    with closing(progress), Workers(packer, processes, advance, torch=False) as workers:
        for shard, result in workers.run(jobs):
            if isinstance(result, Piece):
                jobs.add(shard, result)
            else:
                finished(result)


def _entry(record: Record) -> Shard:
    return Shard(**{item.name: getattr(record, item.name) for item in fields(Shard)})


def _refuse_bad(source: Source, options: ShardOptions, name: str, error: Exception) -> None:
    if options.bad == "fail":
        raise bad_item(source.modality, name, error) from error


def _first(packer: Packer, source: Source, order: np.ndarray) -> tuple[tuple[str, Form], int]:
    """The first item that can be read, (name, form), and its bytes: all others must be like it."""
    reason, making = "", modalities.making(source.modality)
    with making.reading(), Opener(source.read, source.modality) as item_at:
        for i in order.tolist():
            try:
                encoded, size = packer.encode(item_at, source.places[i])
                modalities.check_said(source.modality, encoded.spec)
                return (source.names[i], encoded.form), size
            except (OSError, ValueError) as error:
                _refuse_bad(source, packer.options, source.names[i], error)
                reason = reason or f"{source.names[i]}: {error}"
    raise UserError(f"none of the {len(order):,} {making.units} could be read; the first: {reason}")


class _Jobs:
    """Jobs that are left. Few shards for many processes are cut into pieces, which `add` joins.

    A piece has a multiple of ``many`` samples, those that a member has, but for a shard's last.
    """

    def __init__(self, source: Source, order: np.ndarray, left: list[int], size: int, processes: int, many: int):
        self.source, self.order, self.size = source, order, size
        self.items = sum(self._stop(shard) - shard * size for shard in left)
        self.pieces: dict[int, dict[int, Piece | None]] = {}  # of a shard, by the number of their first item
        self.ready: deque[tuple[int, Job]] = deque()  # with the shard's number
        # With four shards for each process, at most a fifth of the time is spent waiting for the last ones.
        step = size if processes == 1 or len(left) >= 4 * processes else _step(len(order), size, processes)
        step = -(-step // many) * many
        self.left = self._cut(left, step)

    def _cut(self, left: list[int], step: int) -> Iterator[tuple[int, Job]]:
        for shard in left:
            start, stop = shard * self.size, self._stop(shard)
            starts = range(start, stop, step)
            if len(starts) == 1:
                yield shard, (pack_shard, shard, self._items(start, stop))
                continue
            self.pieces[shard] = dict.fromkeys(starts)
            for first in starts:
                yield shard, (pack_piece, shard, self._items(first, min(first + step, stop)))

    def _stop(self, shard: int) -> int:
        return min((shard + 1) * self.size, len(self.order))

    def _items(self, start: int, stop: int) -> Items:
        source, numbers = self.source, self.order[start:stop].tolist()
        labels = [source.labels[i] for i in numbers] if len(source.labels) else ()
        return Items(start, [source.places[i] for i in numbers], labels, [source.names[i] for i in numbers])

    def add(self, shard: int, piece: Piece) -> None:
        """Take a finished piece; when a shard's last one is there, joining them is the next job."""
        pieces = self.pieces[shard]
        pieces[piece.first] = piece
        if all(pieces.values()):
            self.ready.append((shard, (join_pieces, shard, list(self.pieces.pop(shard).values()))))

    def __iter__(self) -> "_Jobs":
        return self

    def __next__(self) -> tuple[int, Job]:
        return self.ready.popleft() if self.ready else next(self.left)


def _step(count: int, size: int, processes: int) -> int:
    """Items of a piece: eight pieces for each process, none so small that handing it over takes longer."""
    return min(size, max(count // (8 * processes), 64))
