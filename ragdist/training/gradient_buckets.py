"""Buckets of gradients that workers exchange while their backward goes on.

DistributedDataParallel wraps the update of one of a worker's last logical workers, and makes the buckets. Others are
computed beside it on replicas; a bucket leaves when all of them have passed it.
"""

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributed import GradBucket
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from ragdist.distributed import summation
from ragdist.distributed.world import World
from ragdist.tools.threads import Threads
from ragdist.training.gradient_exchange import Exchange
from ragdist.training.logical_workers import Collected, Gradients, added
from ragdist.training.update import Update

# Gradients are sent in about so many buckets, so that the first is on its way early: PyTorch's 25 MB are all that small
# networks have. A bucket has at least half a megabyte and at most those 25.
_BUCKETS, _LEAST_MB, _MOST_MB = 8, 0.5, 25.0


class Buckets:
    """The gradients of one backward after the other, reduced bucket by bucket.

    Args:
        update: the losses; its parameters get the gradients of the global batch.
        world: the workers, several.
        exchange: between them.
        replicas: of the update, on which other logical workers than `wrapped`'s are computed at the same time.
    """

    def __init__(self, update: Update, world: World, exchange: Exchange, replicas: Sequence[Update]):
        self.exchange, self._of_replicas = exchange, [list(replica.parameters()) for replica in replicas]
        self._places = {id(parameter): place for place, parameter in enumerate(update.parameters())}
        cuda = world.device.type == "cuda"
        self._stream = torch.cuda.Stream(world.device) if cuda else None
        # One thread: all workers exchange their buckets in one order.
        self._thread = None if cuda else Threads(1)
        self._news = threading.Condition()
        megabytes = sum(p.numel() * p.element_size() for p in update.parameters()) / 2**20
        # A row, or a kernel of one pixel, lies in memory alike by several strides, of which gradients have any.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.wrapped = DistributedDataParallel(
            update,
            device_ids=[world.device] if cuda else None,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,  # `ForwardState` does
            bucket_cap_mb=min(max(megabytes / _BUCKETS, _LEAST_MB), _MOST_MB),
        )
        # Weakly, as all hooks: they are held where no garbage collector looks.
        hook = weakref.WeakMethod(self._hook)
        self.wrapped.register_comm_hook(None, lambda _, bucket: hook()(bucket))
        self._watched: set[int] = set()
        self._passed: list[set[int]] = [set() for _ in replicas]  # parameters, by their places
        for which, of_one in enumerate(self._of_replicas):
            for place, parameter in enumerate(of_one):
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(self._passing(which, place))

    def begin(self, collected: Collected, last: range, before: int) -> None:
        """Begin a batch.

        Args:
            collected: gets the gradients of ``before`` logical workers, each followed by `collected_one`.
            last: the logical workers of `wrapped` and of each of the replicas.
        """
        self._collected, self._last, self._before = collected, last, before
        for passed in self._passed:
            passed.clear()
        self.failure: BaseException | None = None

    def collected_one(self) -> None:
        """Note that another logical worker's gradients are collected."""
        with self._news:
            self._before -= 1
            self._news.notify_all()

    @contextmanager
    def watched(self, which: int) -> Iterator[None]:
        """Note what a replica's backward passes, at its end all; a context for its last micro-batch."""
        self._watched.add(which)
        try:
            yield
        finally:
            self._watched.discard(which)
        with self._news:
            self._passed[which].update(self._places.values())
            self._news.notify_all()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Keep what raises in this context as ``failure``, a batch's first error, and let no bucket wait for it."""
        try:
            yield
        except BaseException as error:
            with self._news:
                self.failure = self.failure or error
                self._news.notify_all()

    def _passing(self, which: int, place: int) -> Callable[[Tensor], None]:
        news, watched, all_passed = self._news, self._watched, self._passed  # a hook must not hold this object

        def passed(parameter: Tensor) -> None:
            if which in watched:
                with news:
                    all_passed[which].add(place)
                    if all(place in of_one for of_one in all_passed):
                        news.notify_all()

        return passed

    def _hook(self, bucket: GradBucket) -> Future[Tensor]:
        buffer, parameters = bucket.buffer(), bucket.parameters()  # which outlive the bucket
        if self._thread:
            future: Future[Tensor] = Future()
            self._thread.start([lambda: self._answer(future, buffer, parameters)])
            return future
        future = Future(devices=[buffer.device])
        self._stream.wait_stream(torch.cuda.current_stream(buffer.device))
        with torch.cuda.stream(self._stream):
            self._answer(future, buffer, parameters)
        return future

    def _answer(self, future: Future[Tensor], buffer: Tensor, parameters: list[Tensor]) -> None:
        with self.failing():
            self._reduce(buffer, parameters)
        future.set_result(buffer)  # after a failure, too: PyTorch would say no more of it than that it is no tensor

    @torch.no_grad()
    def _reduce(self, buffer: Tensor, parameters: list[Tensor]) -> None:
        """Replace the gradients of a worker's logical worker in a bucket by those of the global batch."""
        places = [self._places[id(parameter)] for parameter in parameters]
        self._await(places)
        found = {terms: [all_of[place] for place in places] for terms, all_of in self._collected.sums.items()}
        found[self._terms(0)] = views(buffer, parameters)
        for number, of_one in enumerate(self._of_replicas, 1):
            found[self._terms(number)] = [of_one[place].grad for place in places]
        rows = self.exchange.rows(len(buffer), buffer)
        for row, terms in zip(rows, self.exchange.mine, strict=True):
            fill(row, parameters, summation.total(terms, found, added))
        buffer.copy_(self.exchange(rows)[: len(buffer)])

    def _terms(self, number: int) -> range:
        return self._last[number : number + 1]

    def _await(self, places: list[int]) -> None:
        """Wait until all other logical workers of this worker have the gradients of these parameters."""

        def there() -> bool:
            return not self._before and all(passed.issuperset(places) for passed in self._passed)

        with self._news:
            self._news.wait_for(lambda: self.failure or there())
        if self.failure:
            raise RuntimeError("another logical worker failed") from self.failure


def fill(row: Tensor, parameters: Sequence[Tensor], gradients: Gradients) -> None:
    """Copy gradients to a row of zeros, end to end; where there are none it stays."""
    present = [(view, of) for view, of in zip(views(row, parameters), gradients, strict=True) if of is not None]
    if present:
        torch._foreach_copy_([view for view, _ in present], [of for _, of in present])


def views(flat: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Views of parameters' gradients that lie end to end, each as its parameter lies in memory.

    `GradBucket.gradients` has other axes where a parameter is channels_last.
    """
    found, start = [], flat.storage_offset()
    for parameter in parameters:
        found.append(flat.as_strided(parameter.shape, parameter.stride(), start))
        start += parameter.numel()
    return found
