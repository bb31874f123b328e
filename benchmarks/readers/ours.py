"""ragdist's reader, as `training.dataloader` sets it up: from a local folder, or over HTTP through the cache."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from torch import Tensor

from benchmarks.readers import BATCH, SEED, Data
from ragdist.config.run import DataOptions
from ragdist.data import index as index_file
from ragdist.data.loader_processes import make_loader
from ragdist.data.order import Order
from ragdist.data.prefetch import Prefetcher
from ragdist.data.reader import ShardReader, SlotDataset, Updates
from ragdist.data.shard_files import ShardFiles
from ragdist.storage.cache import Cache

PLENTY = 10**12  # bytes of cache
Z_DIM = 64


class Reader:
    """Kinds: local, latents (local, with each slot's latent), warm and cold (over HTTP; cold empties the cache)."""

    def __init__(self, data: Data, kind: str):
        self.data, self.kind = data, kind
        self.where = data.url if kind in ("warm", "cold") else data.shards

    def _dataset(self, cache: str) -> SlotDataset:
        index = index_file.load(self.where)
        files = ShardFiles(self.where, index, Cache(Path(cache), PLENTY))
        order = Order([s.samples for s in index.shards], index.digest, SEED, 8, 16_384)
        z_dim = Z_DIM if self.kind == "latents" else 0
        return SlotDataset(
            ShardReader(files), order, SEED, z_dim, BATCH, range(BATCH), DataOptions(crop_padding=0, flip=False)
        )

    @cached_property
    def _kept(self) -> SlotDataset:
        return self._dataset(self.data.cache)

    def samples(self) -> Iterator[Tensor]:
        with ExitStack() as stack:
            dataset = self._opened(stack)
            read = dataset.reader.read
            for first in range(0, self.data.samples, BATCH):
                count = min(BATCH, self.data.samples - first)
                for shard, sample in zip(*(part.tolist() for part in dataset.order.locate(first, count)), strict=True):
                    yield read(shard, sample)[0]

    def batches(self, workers: int = 0, start: int = 0) -> Iterator[Tensor]:
        self.at = start
        with ExitStack() as stack:
            dataset = self._opened(stack)
            updates = Updates(start // BATCH * BATCH, self.data.samples // BATCH * BATCH, BATCH)
            if not workers:  # what the loader does without processes, and no more
                batches = map(dataset.__getitem__, updates)
            else:
                batches = make_loader(dataset, updates, workers=workers, prefetch=2, pin=False)
            for self.at, slots in zip(updates, batches, strict=True):
                yield slots.samples

    def _opened(self, stack: ExitStack) -> SlotDataset:
        if self.kind != "cold":
            return self._kept
        dataset = self._dataset(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        files, order, slots = dataset.reader.files, dataset.order, dataset.slots
        self.at = getattr(self, "at", 0)
        ahead = Prefetcher(files, order, BATCH, slots, lambda: self.at, stop=self.data.samples, reach=PLENTY)
        stack.enter_context(ahead)
        return dataset
