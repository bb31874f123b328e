"""The training data of a worker: loaders, transfer to the device, and samples that cannot be read."""

import os
import shlex
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ragdist import modalities
from ragdist.config import Config, division
from ragdist.data.index import Index
from ragdist.data.loader_processes import make_loader
from ragdist.data.order import Order
from ragdist.data.prefetch import Prefetcher
from ragdist.data.reader import OPEN_SHARDS, ShardReader, SlotDataset, Slots, Updates
from ragdist.data.shard_files import ShardFiles
from ragdist.distributed.world import World
from ragdist.storage.cache import Cache
from ragdist.tools import noise
from ragdist.tools.errors import UserError
from ragdist.training.batch import Batch


class TrainingLoader:
    """The loader of one worker's slots, update by update.

    Args:
        config: the run's configuration.
        world: this worker's place.
        index: the data set's index.
        labels: whether batches have the labels.

    Raises:
        UserError: the data are too small for the options, or the cache is.
    """

    def __init__(self, config: Config, world: World, index: Index, *, labels: bool):
        self.config, self.world, self.index, self.labels = config, world, index, labels
        self.modality = modalities.training(index.codec)
        self.slots = world.slots(config.batch_size, division.logical_workers(config))
        # Samples that could not be read, and what was said of them: all workers' until the last checkpoint, and
        # what this one found since.
        self.bad: dict[tuple[int, int], str] = {}
        self.new_bad: dict[tuple[int, int], str] = {}
        self._check_sizes()
        counts = [shard.samples for shard in index.shards]
        data = config.data
        self.order = Order(counts, index.digest, config.seed, data.lanes, data.window)
        self.cache_bytes = int(data.cache_gb * 1e9)
        self.files = ShardFiles(data.path, index, Cache(os.path.expanduser(data.cache), self.cache_bytes))
        in_use = min(self.order.shards_in_use * max(shard.bytes for shard in index.shards), index.bytes)
        if in_use > 0.8 * self.cache_bytes and any(map(self.files.remote, range(len(counts)))):
            raise UserError(
                f"--data.cache_gb {data.cache_gb:g}: the shards that are read side by side take {in_use / 1e9:.2g} GB; "
                f"choose at least {in_use / 0.8e9:.2g}, or a smaller --data.window"
            )

    def _check_sizes(self) -> None:
        config, index = self.config, self.index
        if problem := self.modality.check_transforms(config.data, index.form):
            raise UserError(problem)
        if index.samples == 1:
            raise UserError(f"--data {config.data.path} holds one sample: a batch takes at least two, each once")
        if config.batch_size > index.samples:
            raise UserError(
                f"--batch_size {config.batch_size}: the data hold {index.samples} samples and a batch takes each "
                "at most once; choose a smaller batch"
            )

    def prefetcher(self, seen: Callable[[], int]) -> Prefetcher:
        """A prefetcher of the shards that are needed next; ``seen`` returns the samples seen so far."""
        reach = int(0.8 * self.cache_bytes) // self.world.local_size
        return Prefetcher(
            self.files, self.order, self.config.batch_size, self.slots, seen, stop=self.config.samples, reach=reach
        )

    def batches(self, seen: int, say: Callable[[str], None] = print) -> Iterator[Slots | UserError]:
        """Batches of all updates after so many samples: `data.reader.Slots`, or a `UserError` in their place."""
        config, data = self.config, self.config.data
        reader = ShardReader(self.files, min(OPEN_SHARDS, 2 * self.order.shards_in_use))
        z_dim, batch = config.network.z_dim, config.batch_size
        dataset = SlotDataset(reader, self.order, config.seed, z_dim, batch, self.slots, data)
        return make_loader(
            dataset,
            Updates(seen, config.samples, batch),
            workers=data.loader_workers,
            prefetch=data.prefetch,
            pin=self.world.device.type == "cuda",
            say=say,
        )

    def first_samples(self, count: int) -> Iterator[Tensor]:
        """Batches of the samples that the run sees first, as networks see them, untransformed, on the host.

        Args:
            count: of them, or as many as there are.

        Raises:
            UserError: they cannot be read.
        """
        reader = ShardReader(self.files, min(OPEN_SHARDS, 2 * self.order.shards_in_use))
        shards, numbers = self.order.locate(0, min(count, self.index.samples))
        for first in range(0, len(shards), 64):
            places = shards[first : first + 64], numbers[first : first + 64]
            if found := reader.read_batch(*places):
                samples = found[0]
            else:
                each = zip(*(place.tolist() for place in places), strict=True)
                samples = torch.stack([reader.read_or_next(*place)[0] for place in each])
            yield self.modality.to_network(samples, self.index.form)

    def to_device(self, slots: Slots | UserError, first: int) -> Batch:
        """Bring a batch to the device; zeros where it failed, for the other workers wait for this one's gradients.

        Args:
            slots: of an update.
            first: the number of the update's first sample.
        """
        if isinstance(slots, UserError):
            return self.blank()
        device = self.world.device
        samples, labels, z = (part.to(device, non_blocking=True) for part in slots[:3])
        real = self.modality.to_network(samples, self.index.form)
        return Batch(z, real, labels if self.labels else None, shares=self._shares(first))

    def _shares(self, first: int) -> Tensor | None:
        """`Batch.shares` of the update whose first sample is number ``first``, where a penalty takes them."""
        if not self.config.objective.gp:
            return None
        start, count = first + self.slots.start, len(self.slots)
        shares = noise.uniform(self.config.seed, noise.INTERPOLATE, start, count, 1)
        return torch.from_numpy(shares[:, 0].astype(np.float32)).to(self.world.device, non_blocking=True)

    def blank(self) -> Batch:
        """A batch of zeros, with the shapes and types of all batches."""
        real = torch.zeros(len(self.slots), *self.modality.network_shape(self.index.form), device=self.world.device)
        labels = torch.zeros(len(real), dtype=torch.int64, device=real.device) if self.labels else None
        return Batch(real.new_zeros(len(real), self.config.network.z_dim), real, labels, shares=self._shares(0))

    # Samples that cannot be read.

    def problem(self, slots: Slots | UserError, say: Callable[[str], None]) -> UserError | None:
        """The error that keeps this worker from the update, if any: unreadable data, or too many bad samples."""
        if isinstance(slots, UserError):
            return slots
        if self.labels and slots.labels.min() < 0:
            return UserError(
                f"--network.labels true: samples of {self.config.data.path} have no label, which its index should not "
                "hold beside others that have one: index the shards again, or give --network.labels false"
            )
        known = self.bad | self.new_bad
        new = {(bad.shard, bad.sample): str(bad) for bad in slots.bad if (bad.shard, bad.sample) not in known}
        if new and len(known) + len(new) > self.most_bad:  # they stay uncounted: the data may be mended
            return self.too_many_bad(list(new.values())[-1], len(known) + len(new))
        for what in new.values():
            say(f"bad sample, replaced by the next of its shard: {what}")
        self.new_bad |= new
        return None

    def merge_bad(self) -> None:
        """Merge the bad samples that all workers found; all must call."""
        mine = [[*place, what] for place, what in self.new_bad.items()]
        for found in self.world.gather(mine):
            self.bad |= {(shard, sample): what for shard, sample, what in found}
        self.new_bad = {}

    @property
    def most_bad(self) -> int:
        """The number of samples that may turn out to be unreadable."""
        return int(self.config.data.max_bad * self.index.samples)

    def too_many_bad(self, last: str, count: int) -> UserError:
        check = shlex.join(["python", "-m", "ragdist.shards", "check", self.config.data.path])
        return UserError(
            f"{last}; with it {count} of {self.index.samples:,} samples cannot be read, and "
            f"--data.max_bad {self.config.data.max_bad:g} allows {self.most_bad:,}. `{check}` "
            "lists them all; copy or write their shards again"
        )
