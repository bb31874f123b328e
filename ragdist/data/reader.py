"""The reader of training data: byte ranges of shards, decoded, with each slot's noise.

`SlotDataset` is map-style and stateless: item ``first`` is the update that begins with sample number
``first``, a pure function of the order and the seed. So loader processes hold nothing that a checkpoint
would have to keep, and their number cannot change the run.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ragdist import modalities
from ragdist.config.run import DataOptions
from ragdist.data.held_shards import ROOM, HeldShards, Samples, decode_shard
from ragdist.data.open_shard import OpenShard
from ragdist.data.order import Order
from ragdist.data.shard_files import ShardFiles
from ragdist.tools import noise, plugins
from ragdist.tools.errors import UserError
from ragdist.tools.limits import open_files, reached

# Samples that are located at a time: NumPy takes as long for a small batch as for several.
_LOCATED = 4096
_MOST_STEPS = 32  # updates from one to the next that are located together

# An open file holds a descriptor, of which a process has 1,024 by default.
OPEN_SHARDS = 512


class BadSample(NamedTuple):
    """A sample that cannot be used: its place and the reason."""

    shard: int
    sample: int
    where: str  # file, key and byte
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class Slots(NamedTuple):
    """The samples of a worker's slots in one update, on the host."""

    samples: Tensor  # stored [b, *shape], transformed
    labels: Tensor  # int64 [b]; -1: none
    z: Tensor  # float32 [b, z_dim]
    bad: tuple[BadSample, ...] = ()  # samples that others stand in for


class ShardReader:
    """Samples of a data set by (shard, number).

    Args:
        files: the data set's files.
        open_shards: how many are kept open, at most, and no more than half of what the system lets a process open.
        room: bytes for shards of packed samples, which are held in memory.
    """

    def __init__(self, files: ShardFiles, open_shards: int = OPEN_SHARDS, room: int = ROOM):
        self.files = files
        self.index = files.index
        self.form = files.index.form
        self.modality = modalities.training(files.index.codec)
        self.open_shards = max(min(open_shards, open_files() // 2), 1)
        self.room = room
        self._open: dict[int, OpenShard] = {}  # the most recently opened last
        self._held: HeldShards | None = None  # made when a batch is read

    def __getstate__(self):  # an open file is not pickled, nor what another process imports: a loader has its own
        state = self.__dict__ | {"_open": {}, "_held": None, "plugins": plugins.loaded()}
        del state["modality"]
        return state

    def __setstate__(self, state):
        plugins.take(state.pop("plugins"))
        self.__dict__.update(state)
        self.modality = modalities.training(self.index.codec)

    @cached_property
    def packed(self) -> bool:
        """Whether many samples lie in a member."""
        return modalities.row_type(self.index.codec, self.form) is not None

    def read_batch(self, shards: np.ndarray, samples: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """Read and decode samples by their shards and numbers in them, int64 [b] each; None where any is bad.

        Equal to `read` of each, in less time; those that are packed come from memory, where their shards are held.

        Returns:
            The samples, stored [b, *shape], and their labels, int64 [b].

        Raises:
            UserError: a shard cannot be had.
        """
        if self.packed:
            if self._held is None:
                counts = [shard.samples for shard in self.index.shards]
                blank = partial(self.modality.blank, form=self.form)
                self._held = HeldShards(counts, blank, self._whole, self._few, self.room)
            return self._held.gather(shards, samples)
        return self._few(zip(shards.tolist(), samples.tolist(), strict=True))

    def _few(self, places: Iterable[tuple[int, int]]) -> tuple[Tensor, Tensor] | None:
        found = self.read_all(places)
        return found and (found[0], torch.tensor(found[1]))

    def _whole(self, number: int) -> Samples:
        tar = self._open.get(number) or self._opened(number)
        return decode_shard(
            tar, self.modality, self.form, lambda sample: isinstance(self.read(number, sample), BadSample)
        )

    def read(self, shard: int, sample: int) -> tuple[Tensor, int] | BadSample:
        """Read and decode a sample: the sample and its label, or a `BadSample`.

        Raises:
            UserError: the shard cannot be had.
        """
        found = self.payload(shard, sample)
        if isinstance(found, BadSample):
            return found
        payload, label = found
        try:
            return self.modality.decode(torch.frombuffer(payload, dtype=torch.uint8), self.form), label
        except ValueError as error:  # of the modality, or an empty payload
            return self._bad(shard, sample, f"cannot be decoded: {error}")

    def payload(self, shard: int, sample: int) -> tuple[memoryview, int] | BadSample:
        """Read a sample's payload and its label, or a `BadSample`.

        Raises:
            UserError: the shard cannot be had.
        """
        tar = self._open.get(shard) or self._opened(shard)
        offset, length, checksum, label = tar.row(sample)
        try:
            payload = tar.read(offset, length)
        except OSError as error:
            return self._bad(shard, sample, f"it cannot be read ({error.strerror})")
        if len(payload) < length:
            return self._bad(shard, sample, "its shard was cut off since it was indexed")
        if crc32(payload) != checksum:
            return self._bad(shard, sample, "its bytes changed since it was indexed")
        return payload, label

    def read_all(self, places: Iterable[tuple[int, int]]) -> tuple[Tensor, list[int]] | None:
        """Read and decode samples, stored [n, *shape], and their labels; None where any is bad, which `read` names.

        Equal to `read` of each place, in less time.

        Raises:
            UserError: a shard cannot be had.
        """
        payloads, labels = [], []
        for shard, sample in places:
            tar = self._open.get(shard) or self._opened(shard)
            offset, length, checksum, label = tar.row(sample)
            try:
                payload = tar.read(offset, length)
            except OSError:
                return None
            if crc32(payload) != checksum:
                return None
            payloads.append(payload)
            labels.append(label)
        try:
            return self.modality.decode_all(payloads, self.form), labels
        except ValueError:
            return None

    def read_sound(self, shard: int, sample: int) -> tuple[Tensor, int] | BadSample:
        """Read a sample as `read`; where it is bad and the cached shard has rotted, once more from one fetched anew.

        Raises:
            UserError: the shard cannot be had.
        """
        found = self.read(shard, sample)
        if not isinstance(found, BadSample) or not self.files.remote(shard):
            return found
        self.files.drop_if_damaged(shard)  # unless another process noticed first
        self._open.pop(shard, None)
        if self._held:
            self._held.drop(shard)
        return self.read(shard, sample)

    def read_or_next(self, shard: int, sample: int) -> tuple[Tensor, int, list[BadSample]]:
        """Read a sample, or in place of a bad one the next good one of its shard; and the bad ones on the way.

        Who stands in for whom is a function of the data alone.

        Raises:
            UserError: no sample of the shard is good, or the shard cannot be had.
        """
        bad = []
        for number in range(sample, sample + (count := self.index.shards[shard].samples)):
            found = self.read(shard, number % count) if bad else self.read_sound(shard, number % count)
            if not isinstance(found, BadSample):
                return *found, bad
            bad.append(found)
        raise UserError(f"no sample of {self._name(shard)} can be used; the first: {bad[0]}")

    def _opened(self, number: int) -> OpenShard:
        if len(self._open) >= self.open_shards:
            self._open.pop(next(iter(self._open))).file.close()
        file = self.files.open(number)
        try:
            self._open[number] = OpenShard(file, self.files.table(number))
        except BaseException:
            file.close()
            raise
        return self._open[number]

    def _name(self, shard: int) -> str:
        return self.files.store.locate(self.index.shards[shard].name)

    def _bad(self, shard: int, sample: int, reason: str) -> BadSample:
        tar = self._open[shard]
        where = f"{self._name(shard)}: sample {sample} ({tar.name_of(sample)}) at byte {tar.row(sample)[0]}"
        return BadSample(shard, sample, where, reason)


@dataclass
class SlotDataset(Dataset):
    """The data set that loaders read: one item is a worker's slots of one update."""

    reader: ShardReader
    order: Order
    seed: int
    z_dim: int
    batch: int  # of all workers
    slots: range  # of the batch, this worker's
    transforms: DataOptions
    _located: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)  # by first sample
    _last: int = field(default=0, repr=False)  # first sample of the update that was asked for last

    def __getitem__(self, first: int) -> Slots | UserError:
        """Read the slots of the update whose first sample is number ``first``; a `UserError` where that fails.

        An exception would cross from a loader process as a traceback.
        """
        try:
            return self._slots(first)
        except UserError as error:
            return error
        except (OSError, MemoryError) as error:
            return UserError(f"the data cannot be read: {reached(error) or error}")

    def _slots(self, first: int) -> Slots:
        shards, numbers = self._places(first)
        bad: list[BadSample] = []
        if found := self.reader.read_batch(shards, numbers):
            samples, labels = found
        else:
            each = map(self.reader.read_or_next, shards.tolist(), numbers.tolist())
            each_sample, each_label, passed = zip(*each, strict=True)
            samples, labels, bad = torch.stack(each_sample), torch.tensor(each_label), list(itertools.chain(*passed))
        modality, start, count = self.reader.modality, first + self.slots.start, len(self.slots)
        if draws := modality.draws(self.transforms):
            uniform = noise.uniform(self.seed, noise.AUGMENT, start, count, draws)
            samples = modality.transform(samples, uniform, self.transforms)
        return Slots(
            samples,
            labels,
            torch.from_numpy(noise.normal(self.seed, noise.LATENT, start, count, self.z_dim)),
            tuple(bad),
        )

    def _places(self, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Shard and sample number of each slot of an update, int64 [slots] each.

        With it those of updates to come are located, as far from each other as this one is from the last: of a few
        loader processes each reads every few updates.
        """
        step, self._last = first - self._last, first
        if first not in self._located:
            step = step if 0 < step <= _MOST_STEPS * self.batch else self.batch
            firsts = range(first, first + max(_LOCATED // self.batch, 1) * step, step)
            found = zip(*self.order.locate_updates(firsts, self.batch, self.slots), strict=True)
            self._located = dict(zip(firsts, found, strict=True))
        return self._located[first]


class Updates:
    """The sampler of updates: the first sample of each, from ``start`` until ``stop`` samples are seen."""

    def __init__(self, start: int, stop: int, batch: int):
        self.firsts = range(start, stop, batch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.firsts)

    def __len__(self) -> int:
        return len(self.firsts)
