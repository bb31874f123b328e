"""Which sample is read when: a pure function of (seed, index digest, lanes, window).

Images are numbered through the whole run: image n belongs to epoch n // N. In each epoch the shards
are permuted, the sequence of their samples is cut into L contiguous lanes, and each lane is shuffled
inside windows of W samples; image n comes from lane n mod L. So the readers of one lane touch its
share of the shards only, every sample comes exactly once an epoch, and memory is O(shards + L W).

The order is frozen: golden values in the tests hold it, and a change of it would be a new format.
"""

import hashlib
from functools import lru_cache

import numpy as np

from ragdist import noise


class Order:
    """The order of the samples of shards with these counts.

    Args:
        counts: samples of each shard.
        digest: the index's; other data get another order.
        seed: the run's.
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
        """Shard number and sample number in that shard of images first, ..., first + count - 1: int64 [count] each."""
        shards, samples = np.empty(count, np.int64), np.empty(count, np.int64)
        for epoch in range(first // self.samples, (first + count - 1) // self.samples + 1):
            start = max(first, epoch * self.samples)
            stop = min(first + count, (epoch + 1) * self.samples)
            here = slice(start - first, stop - first)
            shards[here], samples[here] = self._locate(epoch, np.arange(start, stop))
        return shards, samples

    def _locate(self, epoch: int, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = self._per_lane(epoch * self.samples)
        lengths = self._per_lane((epoch + 1) * self.samples) - before
        starts = np.cumsum(lengths) - lengths
        lane = images % self.lanes
        within = images // self.lanes - before[lane]
        place = np.empty_like(images)
        window = within // self.window
        for number in np.unique(lane * self.windows + window):
            which, w = divmod(int(number), self.windows)
            chosen = (lane == which) & (window == w)
            size = min(self.window, int(lengths[which]) - w * self.window)
            order = self._window_order((epoch * self.lanes + which) * self.windows + w, size)
            place[chosen] = starts[which] + w * self.window + order[within[chosen] - w * self.window]
        order, ends = self._shard_order(epoch)
        position = np.searchsorted(ends, place, side="right")
        return order[position], place - (ends[position] - self.counts[order[position]])

    def _per_lane(self, images: int) -> np.ndarray:
        """How many of the first ``images`` images each lane has given."""
        lane = np.arange(self.lanes)
        return (images - lane + self.lanes - 1) // self.lanes

    def _window_order(self, item: int, size: int) -> np.ndarray:
        return noise.permutation(self.key, noise.WINDOW, item, size)

    def _shard_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = noise.permutation(self.key, noise.SHARDS, epoch, len(self.counts))
        return order, np.cumsum(self.counts[order])
