"""The reference data: samples of a data set by number, whatever shards they lie in."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ragdist.data import index as index_file
from ragdist.data.reader import BadSample, ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.storage.cache import Cache
from ragdist.tools import noise


class Batch(NamedTuple):
    """A batch of a sequence of samples, in any order."""

    places: Tensor  # int64 [b]: where in the sequence
    samples: Tensor  # stored [b, *shape]
    labels: Tensor  # int64 [b]; -1: none


class DataSet:
    """Samples of indexed shards.

    Args:
        where: the data set's folder, by path or URL.
        cache: folder for shards that are fetched.
        cache_gb: most gigabytes that are kept there.

    Raises:
        UserError: there are no shards.
    """

    def __init__(self, where: str, cache: Path, cache_gb: float = 100.0):
        self.where = where
        self.index = index_file.load(where)
        self.reader = ShardReader(ShardFiles(where, self.index, Cache(cache, int(cache_gb * 1e9))))
        self._starts = np.cumsum([0, *(shard.samples for shard in self.index.shards)])
        self.bad: set[int] = set()  # numbers of samples that could not be read

    def __len__(self) -> int:
        return self.index.samples

    @cached_property
    def labels(self) -> Tensor:
        """Labels of all samples in the order of the shards: int64 [samples]; -1: none."""
        tables = [self.reader.files.table(number)["label"] for number in range(len(self.index.shards))]
        return torch.from_numpy(np.concatenate(tables).astype(np.int64))

    def drawn(self, count: int) -> np.ndarray:
        """Draw the numbers of ``count`` samples (at most all; 0: all), in a random order that the data alone decide."""
        order = noise.permutation(int(self.index.digest[:16], 16), noise.REALS, 0, len(self))
        return order[: count or len(self)].copy()  # the rest of a large one need not stay in memory

    def batches(self, numbers: np.ndarray, batch: int, share: range | None = None) -> Iterator[Batch]:
        """Batches of the samples with these numbers, shard by shard; bad ones are left out.

        Of all batches only those in ``share``, a worker's; None: all.
        """
        order = np.argsort(numbers, kind="stable")
        firsts = range(0, len(order), batch)
        for first in firsts if share is None else firsts[share.start : share.stop]:
            places = order[first : first + batch]
            if found := self.reader.read_batch(*self.located(numbers[places])):
                # Laid out as samples that are stacked: with other strides features have other bits.
                samples = found[0].clone(memory_format=torch.contiguous_format)
                yield Batch(torch.from_numpy(places), samples, found[1])
            elif rest := self._readable(numbers, places):
                yield rest

    def _readable(self, numbers: np.ndarray, places: np.ndarray) -> Batch | None:
        """A batch of those of its samples that can be read, one by one; None where there is none."""
        kept, samples, labels = [], [], []
        for place, shard, number in zip(
            places.tolist(), *map(np.ndarray.tolist, self.located(numbers[places])), strict=True
        ):
            found = self.reader.read_sound(shard, number)
            if isinstance(found, BadSample):
                self.bad.add(int(numbers[place]))
                continue
            kept.append(place)
            samples.append(found[0])
            labels.append(found[1])
        return Batch(torch.tensor(kept), torch.stack(samples), torch.tensor(labels)) if kept else None

    def located(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shards of these samples, and their numbers in them: int64 [n] each."""
        shards = np.searchsorted(self._starts, numbers, side="right") - 1
        return shards, numbers - self._starts[shards]

    def samples(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read these samples: stored [n, *shape] in the numbers' order, and which of them there are, bool [n]."""
        samples = self.reader.modality.blank(len(numbers), self.index.form)
        there = torch.zeros(len(numbers), dtype=torch.bool)
        for batch in self.batches(numbers, 1024):
            samples[batch.places], there[batch.places] = batch.samples, True
        return samples, there
