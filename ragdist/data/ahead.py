"""Fetch shards into the cache before they are needed, in the order of their use."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ragdist.data.order import Order
from ragdist.data.shardfiles import ShardFiles
from ragdist.errors import UserError

_STREAMS = 4  # shards that are fetched at a time
_PAUSE = 0.5  # seconds between two looks at where training is


class Ahead:
    """A thread that keeps the shards of the next images in the cache, as a context.

    Args:
        files: the data set's.
        order: the run's.
        batch, slots: the global batch, and the slots of it that this worker computes.
        image: asks how many images are seen.
        stop: images after which nothing is needed any more.
        reach: bytes of shards that are kept ahead, those in use included.
    """

    def __init__(
        self,
        files: ShardFiles,
        order: Order,
        batch: int,
        slots: range,
        image: Callable[[], int],
        *,
        stop: int,
        reach: int,
    ):
        self.files, self.order, self.batch, self.slots = files, order, batch, slots
        self.image, self.stop, self.reach = image, stop, reach
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def __enter__(self) -> "Ahead":
        if any(self.files.remote(number) for number in range(len(self.files.index.shards))):
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()

    def wanted(self) -> list[int]:
        """Shards to have now, the most urgent first."""
        shards = self.files.index.shards
        found: dict[int, None] = {}
        total = repeats = 0
        for number in self.order.upcoming(self.image(), self.stop, self.batch, self.slots):
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
        with ThreadPoolExecutor(_STREAMS) as pool:
            while not self._stop.is_set():
                list(pool.map(self._have, self.wanted()))
                self._stop.wait(_PAUSE)

    def _have(self, number: int) -> None:
        if self._stop.is_set():
            return
        try:
            self.files.fetch(number)
        except UserError:
            # The reader meets the same error when it needs the shard, and reports it.
            self._stop.wait(_PAUSE)
