"""Prefetching of shards into the cache, in the order of their use."""

import threading
import time
from collections.abc import Callable

from ragdist.data.order import Order
from ragdist.data.shard_files import ShardFiles

_STREAMS = 4  # shards that are fetched at a time
_PAUSE = 0.5  # seconds between two looks at where training is
_AGAIN = 10.0  # seconds after which a shard is looked at again: it is touched, or fetched if others had it deleted


class Prefetcher:
    """Threads that keep the shards of the next samples in the cache; a context.

    Args:
        files: the data set's files.
        order: the order of the run's samples.
        batch, slots: the global batch, and the slots of it that this worker computes.
        seen: gives the samples seen so far.
        stop: samples after which nothing is needed any more.
        reach: bytes of shards that are kept ahead, those in use included.
    """

    def __init__(
        self,
        files: ShardFiles,
        order: Order,
        batch: int,
        slots: range,
        seen: Callable[[], int],
        *,
        stop: int,
        reach: int,
    ):
        self.files, self.order, self.batch, self.slots = files, order, batch, slots
        self.seen, self.stop, self.reach = seen, stop, reach
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._had: dict[int, float] = {}  # when each shard was last looked at

    def __enter__(self) -> "Prefetcher":
        if any(self.files.remote(number) for number in range(len(self.files.index.shards))):
            for _ in range(_STREAMS):  # daemons: a fetch that hangs must not keep the process from ending
                threading.Thread(target=self._run, name="prefetch", daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()

    def wanted(self) -> list[int]:
        """Shards that should be in the cache now, the most urgent first."""
        shards = self.files.index.shards
        found: dict[int, None] = {}
        total = repeats = 0
        for number in self.order.upcoming(self.seen(), self.stop, self.batch, self.slots):
            if number in found:
                # Lanes of one shard, or a data set that is here whole: nothing else may come for long.
                repeats += 1
                if len(found) == len(shards) or repeats > 4 * len(shards):
                    break
                continue
            total += shards[number].bytes
            if found and total > self.reach:
                break
            found[number] = None
        return list(found)

    def _run(self) -> None:
        while not self._stop.is_set():
            number = self._next()
            if number is None:
                self._stop.wait(_PAUSE)
                continue
            try:
                self.files.fetch(number)
            except Exception:
                # Whatever it is, the reader meets it when it needs the shard, and reports it.
                self._stop.wait(_PAUSE)

    def _next(self) -> int | None:
        """Take the most urgent shard that no thread has looked at lately."""
        with self._lock:
            now = time.monotonic()
            for number in self.wanted():
                if now - self._had.get(number, -_AGAIN) >= _AGAIN:
                    self._had[number] = now
                    return number
        return None
