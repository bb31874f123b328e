"""Statistics of a data set: counts from its tables, and a few samples to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ragdist import modalities
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.data.indexing.tar_walk import printable
from ragdist.data.shard_files import ShardFiles
from ragdist.storage.cache import Cache
from ragdist.storage.store import Store

if TYPE_CHECKING:  # counts need no PyTorch: it is imported where samples are read
    from torch import Tensor

    from ragdist.data.reader import ShardReader

BAR = 40  # characters of the longest bar
LISTED = 100  # classes that are printed
_FETCHED = 4  # remote shards that samples are shown from
_CHUNK = 64  # samples that are in memory at a time


@dataclass(frozen=True)
class Stats:
    """Counts of a data set."""

    where: str
    index: Index
    labels: np.ndarray  # int64 [samples]
    lengths: np.ndarray  # uint32 [samples], bytes of each

    def lines(self) -> list[str]:
        """Lines of a summary."""
        index, lengths = self.index, self.lengths
        middle = int(np.sort(lengths)[(len(lengths) - 1) // 2])
        sizes = [shard.samples for shard in index.shards]
        lines = [
            f"{self.where}",
            f"samples  {index.samples:,} of shape {list(index.shape)} ({index.codec})",
            *([f"         {modalities.making(index.codec).in_words(index.form)}"] if index.spec else []),
            f"shards   {len(sizes):,} of {_span(sizes)} samples",
            f"bytes    {index.bytes:,} in shards, {int(lengths.sum(dtype=np.int64)):,} in samples",
            f"         of a sample: min {int(lengths.min()):,}, median {middle:,}, max {int(lengths.max()):,}",
            f"digest   {index.digest}",
        ]
        if not index.classes:
            return [*lines, "labels   none"]
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(index.classes))
        lines.append(f"classes  {len(index.classes):,} of {_span(counts.tolist())} samples")
        if unlabelled := int((self.labels < 0).sum()):
            lines.append(f"         {unlabelled:,} samples have no label")
        return lines + _bars(index.classes, counts)


def read(where: str) -> Stats:
    """Count from the index and the tables; no sample is read.

    Raises:
        UserError: there is none, or it is not what its index says.
    """
    index = index_file.load(where)
    tables = [index_file.load_table(where, shard) for shard in index.shards]
    return Stats(
        where, index, np.concatenate([t["label"] for t in tables]), np.concatenate([t["length"] for t in tables])
    )


def pick(stats: Stats, rows: int, columns: int) -> list[tuple[str, Tensor]]:
    """Pick samples to look at: (class, stored [at most ``columns``, *shape]), a row for each class.

    Classes, and a class's samples, are spread evenly over the data. Without labels the rows have no names.
    Of remote shards a few are fetched. Samples that cannot be read are left out.
    """
    index = stats.index
    with _opened(stats) as (reader, near):
        if index.classes:
            present = np.unique(stats.labels[near & (stats.labels >= 0)])
            groups = [
                (index.classes[c], _evenly(np.flatnonzero(near & (stats.labels == c)), columns))
                for c in _evenly(present, rows)
            ]
        else:
            every = _evenly(np.flatnonzero(near), rows * columns)
            groups = [("", every[i : i + columns]) for i in range(0, len(every), columns)]
        shown = [(name, _read(reader, numbers)[1]) for name, numbers in groups]
    return [(name, samples) for name, samples in shown if len(samples)]


def figures(stats: Stats, most: int) -> list[str]:
    """Lines with the spans of what the modality counts of samples, of at most so many that are read, spread evenly.

    Of remote shards a few are fetched. Empty where the modality counts nothing.
    """
    judging = modalities.judging(stats.index.codec)
    count = getattr(judging, "statistics", None)
    if count is None or not most:
        return []
    found: dict[str, tuple[str, list]] = {}
    with _opened(stats) as (reader, near):
        chosen = _evenly(np.flatnonzero(near), most)
        read = 0
        for numbers in np.array_split(chosen, -(-len(chosen) // _CHUNK)):
            payloads, samples = _read(reader, numbers)
            read += len(payloads)
            for statistic in count(payloads, samples, stats.index.form) if payloads else ():
                found.setdefault(statistic.name, (statistic.unit, []))[1].extend(statistic.values)
            if not found and payloads:
                return []
    of = f"{read:,} samples" if len(chosen) < stats.index.samples else f"all {read:,} samples"
    lines = [f"of {of}" + ", spread evenly" * (len(chosen) < stats.index.samples)]
    if unread := len(chosen) - read:
        lines[0] += f" ({unread:,} cannot be read: `python -m ragdist.shards check` says why)"
    width = max(map(len, found), default=0)
    return lines + [f"  {name:<{width}}  {_words(values, unit)}" for name, (unit, values) in found.items()]


def _words(values: list, unit: str) -> str:
    if isinstance(values[0], bool):
        return f"{sum(values):,} ({sum(values) / len(values):.1%})"
    # A zero without a sign; counts are whole.
    ordered = [value if isinstance(value, int) else round(value, 3) + 0.0 for value in sorted(values)]
    middle = ordered[(len(ordered) - 1) // 2]
    return f"min {ordered[0]:,}, median {middle:,}, max {ordered[-1]:,} {unit}".rstrip()


@contextmanager
def _opened(stats: Stats) -> Iterator[tuple[ShardReader, np.ndarray]]:
    """A reader, and which samples it may read, bool [samples]: all where shards are here, else those of a few."""
    from ragdist.data.reader import ShardReader

    index, starts = stats.index, _starts(stats.index)
    with TemporaryDirectory(prefix="ragdist-stats-") as folder:
        files = ShardFiles(stats.where, index, Cache(Path(folder), index.bytes * 2))
        near = np.ones(index.samples, bool)
        if Store(stats.where).local is None or any(files.remote(n) for n in range(len(index.shards))):
            near[:] = False
            for shard in _evenly(np.arange(len(index.shards)), _FETCHED):
                near[starts[shard] : starts[shard + 1]] = True
        yield ShardReader(files), near


def _starts(index: Index) -> np.ndarray:
    """The number of each shard's first sample, and of all."""
    return np.cumsum([0, *(shard.samples for shard in index.shards)])


def _read(reader: ShardReader, numbers: np.ndarray) -> tuple[list[memoryview], Tensor]:
    """Payloads and decoded samples of those that can be read."""
    import torch

    from ragdist.data.reader import BadSample

    starts = _starts(reader.index)
    shards = np.searchsorted(starts, numbers, side="right") - 1
    payloads, samples = [], []
    for shard, number in zip(shards.tolist(), (numbers - starts[shards]).tolist(), strict=True):
        payload, sample = reader.payload(shard, number), reader.read(shard, number)
        if not isinstance(payload, BadSample) and not isinstance(sample, BadSample):
            payloads.append(payload[0])
            samples.append(sample[0])
    return payloads, torch.stack(samples) if samples else torch.empty(0)


def _evenly(items: np.ndarray, most: int) -> np.ndarray:
    """Pick at most so many items, evenly spread."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))]


def _span(counts: list[int]) -> str:
    return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"


def _bars(names: tuple[str, ...], counts: np.ndarray) -> list[str]:
    """A line for each class: name, count, bar."""
    texts = [printable(name)[:30] for name in names[:LISTED]]
    width, digits = max(map(len, texts)), len(f"{counts.max():,}")
    lines = [
        f"  {name:<{width}}  {count:>{digits},}  {'#' * max(round(BAR * count / counts.max()), int(count > 0))}"
        for name, count in zip(texts, counts.tolist(), strict=False)
    ]
    if len(names) > LISTED:
        lines.append(f"  and {len(names) - LISTED:,} more classes")
    return lines
