"""Shards of small samples in memory, decoded: a batch of any of them is gathered in one go.

Reading a sample by itself takes some microseconds, which is nothing beside decoding a picture, and is most of what a
line of text takes.
"""

from collections.abc import Callable, Iterable
from itertools import compress
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from ragdist.data.open_shard import OpenShard
from ragdist.modalities.base import Form, Training

ROOM = 1 << 28  # bytes, of a process

_DEARER = 16  # times as long as with its whole shard takes reading a sample by itself


class Samples(NamedTuple):
    """The samples of a shard."""

    samples: Tensor  # stored [n, *shape]
    labels: Tensor  # int64 [n]; -1: none
    bad: Tensor  # bool [n]: what cannot be used, in whose place is anything


Few = tuple[Tensor, Tensor]  # samples and labels


class HeldShards:
    """Samples of the shards that were used last, as many as there is room for.

    Args:
        counts: samples of each shard.
        blank: ``blank(n)`` gives n stored samples, as `Training.blank`.
        load: reads a shard whole.
        read: reads samples one by one, given as (shard, number); None where any is bad.
        room: bytes.
    """

    def __init__(
        self,
        counts: list[int],
        blank: Callable[[int], Tensor],
        load: Callable[[int], Samples],
        read: Callable[[Iterable[tuple[int, int]]], Few | None],
        room: int = ROOM,
    ):
        self._counts, self._load, self._read = np.asarray(counts, np.int64), load, read
        rows = room // (blank(1).nbytes + 9)  # with label and mark
        fit = self._counts <= rows
        if self._counts.sum() <= rows:  # each has its own place
            self._free = np.cumsum(self._counts) - self._counts
            self._own, rows = True, int(self._counts.sum())
        else:
            size = int(self._counts[fit].max(initial=1))
            self._free = list(range(0, rows // size * size, size))
            self._own, rows = False, rows // size * size
        self._fit = fit
        # The system gives memory as it is written to.
        self._samples = blank(0).new_empty(rows, *blank(1).shape[1:])
        self._labels, self._bad = torch.empty(rows, dtype=torch.int64), torch.zeros(rows, dtype=torch.bool)
        self._starts = np.full(len(counts), -1)  # row of each shard's first sample; -1: it is not here
        self._used = np.zeros(len(counts), np.int64)  # batch that it was used in last
        self._missed = np.zeros(len(counts), np.int64)  # samples that were read by themselves
        self._batch, self._any_bad = 0, False

    def gather(self, shards: np.ndarray, numbers: np.ndarray) -> Few | None:
        """Samples and labels by their shards and numbers in them, int64 [b] each; None where any is bad.

        Raises:
            UserError: a shard cannot be had.
        """
        self._batch += 1
        self._used[shards] = self._batch
        starts = self._starts[shards]
        away = starts < 0
        if away.any():
            for shard, count in zip(*np.unique(shards[away], return_counts=True), strict=True):
                self._hold(int(shard), int(count))
            starts = self._starts[shards]
            away = starts < 0
            if away.any():
                return self._mixed(shards, numbers, away)
        return self._take(starts + numbers)

    def drop(self, shard: int) -> None:
        """Forget a shard: it is read anew when it is needed."""
        if self._starts[shard] >= 0 and not self._own:
            self._free.append(int(self._starts[shard]))
        self._starts[shard] = -1

    def _take(self, rows: np.ndarray) -> Few | None:
        where = torch.from_numpy(rows)
        if self._any_bad and self._bad[where].any():
            return None
        return self._samples.index_select(0, where), self._labels.index_select(0, where)

    def _mixed(self, shards: np.ndarray, numbers: np.ndarray, away: np.ndarray) -> Few | None:
        """A batch of which not all is here."""
        others = self._read(zip(shards[away].tolist(), numbers[away].tolist(), strict=True))
        here = self._take((self._starts[shards] + numbers)[~away])
        if others is None or here is None:
            return None
        found = tuple(part.new_empty(len(away), *part.shape[1:]) for part in here)
        for part, of_here, of_others in zip(found, here, others, strict=True):
            part[torch.from_numpy(~away)], part[torch.from_numpy(away)] = of_here, of_others
        return found

    def _hold(self, shard: int, wanted: int) -> None:
        """Bring a shard here, of which so many samples are wanted now, if that is worth its while."""
        self._missed[shard] += wanted
        if (start := self._place(shard)) is None:
            return
        found = self._load(shard)
        rows = slice(start, start + int(self._counts[shard]))
        self._samples[rows], self._labels[rows], self._bad[rows] = found
        self._any_bad = self._any_bad or bool(found.bad.any())
        self._starts[shard], self._missed[shard] = start, 0

    def _place(self, shard: int) -> int | None:
        if self._own:
            return int(self._free[shard])
        if not self._fit[shard]:
            return None
        if self._free:
            return self._free.pop()
        # One must go. Shards that are more than there is room for would take turns for a sample each: a shard is
        # loaded only when reading samples of it by themselves has taken about as long.
        last = np.where(self._starts >= 0, self._used, self._batch)
        oldest = int(last.argmin())
        if self._missed[shard] * _DEARER < self._counts[shard] or last[oldest] == self._batch:
            return None
        start = int(self._starts[oldest])
        self._starts[oldest] = -1
        return start


def decode_shard(tar: OpenShard, modality: Training, form: Form, is_bad: Callable[[int], bool]) -> Samples:
    """Read and decode all samples of a shard.

    Args:
        tar: the shard.
        modality: of the samples.
        form: of the samples.
        is_bad: tells of a sample, by its number, whether it cannot be used; asked where not all can be decoded.
    """
    payloads = list(tar.payloads())
    bad = np.fromiter(map(crc32, payloads), np.uint32, len(payloads)) != tar.table["crc32"]
    try:
        samples = _decoded(payloads, bad, modality, form)
    except ValueError:  # one that was bad when it was indexed
        bad |= [is_bad(sample) for sample in range(len(bad))]
        samples = _decoded(payloads, bad, modality, form)
    return Samples(samples, torch.from_numpy(tar.table["label"].astype(np.int64)), torch.from_numpy(bad))


def _decoded(payloads: list[bytearray], bad: np.ndarray, modality: Training, form: Form) -> Tensor:
    """Decode all but the bad ones, in whose place are zeros. Raises ValueError where one more is bad."""
    if not bad.any():
        return modality.decode_all(payloads, form)
    samples = modality.blank(len(payloads), form)
    if not bad.all():
        good = list(compress(payloads, ~bad))
        samples[torch.from_numpy(~bad)] = modality.decode_all(good, form)
    return samples
