"""The order of samples: a pure function of (seed, index digest, lanes, window).

Samples are numbered through the whole run: number n belongs to epoch n // N. In each epoch the shards
are permuted, the sequence of their samples is cut into L contiguous lanes, and each lane is shuffled
inside windows of W samples; number n comes from lane n mod L. Every sample comes exactly once an epoch,
and memory is O(shards + L W).

The slots of an update take its samples lane by lane. Workers have contiguous slots, so with a batch that
the lanes divide each has lanes of its own and touches their share of the shards only.

The order is frozen: golden values in the tests hold it, and a change of it would be a new format.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from ragdist.tools import noise


class Order:
    """The order of samples in shards with these counts.

    Args:
        counts: samples of each shard.
        digest: the index's; other data get another order.
        seed: the run's seed.
        lanes: contiguous parts read side by side.
        window: samples of a lane that are shuffled together.
    """

    def __init__(self, counts: list[int], digest: str, seed: int, lanes: int, window: int):
        self._arguments = (counts, digest, seed, lanes, window)
        self.counts = np.asarray(counts, np.int64)
        self.samples = int(self.counts.sum())
        self.lanes = lanes
        self.window = window
        self.key = int(hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest()[:16], 16)
        longest = -(-self.samples // lanes)
        self.windows = -(-longest // window)  # of the longest lane
        # A batch touches one window a lane and at most two epochs; two windows where it crosses a boundary.
        self._window_order = lru_cache(2 * lanes)(self._window_order)
        self._shard_order = lru_cache(2)(self._shard_order)

    def __reduce__(self):  # caches stay behind when a loader process gets its copy
        return Order, self._arguments

    def locate(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Locate samples first, ..., first + count - 1: shard number and sample number in it, int64 [count] each."""
        return self._places(np.arange(first, first + count))

    def locate_slots(self, first: int, batch: int, slots: range) -> tuple[np.ndarray, np.ndarray]:
        """Locate these slots of the update that takes samples first, ..., first + batch - 1."""
        shards, samples = self.locate_updates([first], batch, slots)
        return shards[0], samples[0]

    def locate_updates(self, firsts: Sequence[int], batch: int, slots: range) -> tuple[np.ndarray, np.ndarray]:
        """Locate these slots of the updates with these first samples: shards and numbers, int64 [updates, slots]."""
        numbers = np.asarray(firsts)[:, None] + np.arange(batch)
        by_lane = np.argsort(numbers % self.lanes, axis=1, kind="stable")[:, slots.start : slots.stop]
        numbers = np.take_along_axis(numbers, by_lane, axis=1)
        shards, samples = self._places(numbers.ravel())
        return shards.reshape(numbers.shape), samples.reshape(numbers.shape)

    def upcoming(self, first: int, stop: int, batch: int, slots: range) -> Iterator[int]:
        """Shards that these slots read between samples ``first`` and ``stop``, roughly in the order of use.

        A shard is repeated when another window or epoch reads it again.
        """
        low, high = slots.start * self.lanes // batch, -(-slots.stop * self.lanes // batch)
        # Where the lanes do not divide the batch, a slot's lane moves from update to update by up to a quarter of
        # lanes^2 / batch, the most that the remainder's place can shift it.
        moves = 0 if batch % self.lanes == 0 else -(-self.lanes * self.lanes // (4 * batch))
        lanes = range(max(low - moves, 0), min(high + moves, self.lanes))
        epoch = first // self.samples
        within = (first % self.samples) // self.lanes  # samples that each lane has given in this epoch, about
        while epoch * self.samples < stop:
            lengths = self._per_lane((epoch + 1) * self.samples) - self._per_lane(epoch * self.samples)
            starts = np.cumsum(lengths) - lengths
            order, ends = self._shard_order(epoch)
            for window in range(within // self.window, self.windows):
                if epoch * self.samples + window * self.window * self.lanes >= stop:
                    return
                for lane in lanes:
                    begin = starts[lane] + window * self.window
                    end = min(begin + self.window, starts[lane] + lengths[lane])
                    if begin < end:
                        a, b = np.searchsorted(ends, [begin, end - 1], side="right")
                        yield from order[a : b + 1].tolist()
            epoch, within = epoch + 1, 0

    @property
    def shards_in_use(self) -> int:
        """The largest number of shards that are read side by side: those under one window of each lane."""
        smallest_first = np.cumsum(np.sort(self.counts[self.counts > 0]))
        within = int(
            np.searchsorted(smallest_first, self.window, side="right")
        )  # the most that a window can hold whole
        return min(self.lanes * (within + 2), len(self.counts))

    def _places(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shards, samples = np.empty_like(numbers), np.empty_like(numbers)
        epochs = numbers // self.samples
        for epoch in np.unique(epochs):
            here = epochs == epoch
            shards[here], samples[here] = self._locate(int(epoch), numbers[here])
        return shards, samples

    def _locate(self, epoch: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = self._per_lane(epoch * self.samples)
        lengths = self._per_lane((epoch + 1) * self.samples) - before
        starts = np.cumsum(lengths) - lengths
        lane = numbers % self.lanes
        window, within = np.divmod(numbers // self.lanes - before[lane], self.window)
        place = starts[lane] + window * self.window
        number = lane * self.windows + window
        by_number = np.argsort(number, kind="stable")
        ends = np.flatnonzero(np.diff(number[by_number], append=-1)) + 1
        for begin, end in zip([0, *ends.tolist()], ends.tolist(), strict=False):
            chosen = by_number[begin:end]
            which, w = divmod(int(number[chosen[0]]), self.windows)
            size = min(self.window, int(lengths[which]) - w * self.window)
            order = self._window_order((epoch * self.lanes + which) * self.windows + w, size)
            place[chosen] += order[within[chosen]]
        order, ends = self._shard_order(epoch)
        position = np.searchsorted(ends, place, side="right")
        return order[position], place - (ends[position] - self.counts[order[position]])

    def _per_lane(self, count: int) -> np.ndarray:
        """Samples that each lane has given of the first ``count``."""
        lane = np.arange(self.lanes)
        return (count - lane + self.lanes - 1) // self.lanes

    def _window_order(self, item: int, size: int) -> np.ndarray:
        return noise.permutation(self.key, noise.WINDOW, item, size)

    def _shard_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = noise.permutation(self.key, noise.SHARDS, epoch, len(self.counts))
        return order, np.cumsum(self.counts[order])
