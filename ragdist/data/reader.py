"""From image numbers to batches: byte ranges of mapped shards, decoded, with each slot's noise.

`SlotDataset` is map-style and stateless: item ``first`` is the update that begins with image number
``first``, a pure function of the order and the seed. So loader processes hold nothing that a checkpoint
would have to keep, and their number cannot change the run.
"""

import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ragdist import noise
from ragdist.data import index as index_file
from ragdist.data.codecs import CODECS
from ragdist.data.index import Index
from ragdist.data.order import Order
from ragdist.errors import UserError

# A map holds a file descriptor, of which a process has 1,024 by default.
OPEN_SHARDS = 512


class Slots(NamedTuple):
    """A worker's slots of one update, on the host."""

    samples: Tensor  # uint8 [b, *sample_shape], augmented
    labels: Tensor  # int64 [b]; -1: none
    z: Tensor  # float32 [b, z_dim]


class ShardReader:
    """Samples of a data set by (shard, number), from mapped files."""

    def __init__(self, folder: Path | str, index: Index):
        self.folder = Path(folder)
        self.index = index
        self.codec = CODECS[index.codec]
        self._open: dict[int, tuple[mmap.mmap, np.ndarray]] = {}  # the most recently opened last

    def __getstate__(self):  # a map is not pickled: a loader process opens its own
        return self.__dict__ | {"_open": {}}

    def read(self, shard: int, sample: int) -> tuple[Tensor, int]:
        """The decoded sample and its label.

        Raises:
            UserError: the sample's bytes are not what was indexed, or are no sample; with its place.
        """
        data, table = self._shard(shard)
        row = table[sample]
        offset, length = int(row["offset"]), int(row["length"])
        payload = memoryview(data)[offset : offset + length]
        if zlib.crc32(payload) != row["crc32"]:
            raise UserError(self._place(shard, sample, offset, "its bytes changed since it was indexed"))
        try:
            decoded = self.codec.decode(torch.frombuffer(payload, dtype=torch.uint8), self.index.shape)
        except ValueError as error:
            raise UserError(self._place(shard, sample, offset, f"cannot be decoded: {error}")) from error
        return decoded, int(row["label"])

    def _shard(self, number: int):
        if number not in self._open:
            shard = self.index.shards[number]
            with open(self.folder / shard.name, "rb") as file:
                # Copy-on-write: PyTorch wants memory it may write to, and the file must not change.
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._open[number] = data, index_file.load_table(self.folder, shard)
            if len(self._open) > OPEN_SHARDS:
                del self._open[next(iter(self._open))]
        return self._open[number]

    def _place(self, shard: int, sample: int, offset: int, what: str) -> str:
        name = self.folder / self.index.shards[shard].name
        return f"{name}: sample {sample} at byte {offset}: {what}; copy or write this shard again"


@dataclass
class SlotDataset(Dataset):
    """Update by update, the slots of one worker."""

    reader: ShardReader
    order: Order
    seed: int
    z_dim: int
    slots: range  # of the global batch, this worker's
    crop_padding: int
    flip: bool

    def __getitem__(self, first: int) -> Slots | UserError:
        """The slots of the update whose first image is number ``first``, or what is wrong with one of them.

        An exception would cross from a loader process as a traceback.
        """
        try:
            return self._slots(first)
        except UserError as error:
            return error

    def _slots(self, first: int) -> Slots:
        first, count = first + self.slots.start, len(self.slots)
        places = zip(*self.order.locate(first, count), strict=True)
        samples, labels = zip(*(self.reader.read(shard, sample) for shard, sample in places), strict=True)
        codec = self.reader.codec
        uniform = noise.uniform(self.seed, noise.AUGMENT, first, count, codec.draws)
        return Slots(
            codec.augment(torch.stack(samples), uniform, self.crop_padding, self.flip),
            torch.tensor(labels),
            torch.from_numpy(noise.normal(self.seed, noise.LATENT, first, count, self.z_dim)),
        )


class Updates:
    """The sampler: the first image of each update from ``start`` until ``stop`` images are seen."""

    def __init__(self, start: int, stop: int, batch: int):
        self.firsts = range(start, stop, batch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.firsts)

    def __len__(self) -> int:
        return len(self.firsts)


def _settle(_worker: int) -> None:
    """A loader process leaves Ctrl-C to the trainer, computes on its own core alone, and ends with the trainer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()


def _end_with_the_trainer() -> None:
    # PyTorch watches the process that forked this one, which is the fork server: it outlives a killed trainer.
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def make_loader(dataset: SlotDataset, updates: Updates, *, workers: int, prefetch: int, pin: bool) -> DataLoader:
    """Batches in the updates' order, read ahead by ``workers`` processes."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=updates,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        # A fork would copy the locks of the trainer's threads in whatever state they are in.
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_settle,
        pin_memory=pin,
    )
