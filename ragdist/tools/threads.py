"""Threads that compute side by side, each alone: what one computes has the same bits beside any number of others."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")


class Threads:
    """Threads that compute without threads of PyTorch's inside of them.

    Args:
        count: how many.
    """

    def __init__(self, count: int):
        before, self.count = torch.get_num_threads(), count
        self._pool = ThreadPoolExecutor(count, "computes-alone", _compute_alone)
        started = threading.Barrier(count)
        wait([self._pool.submit(started.wait) for _ in range(count)])
        torch.set_num_threads(before)  # which new threads inherit, whatever thread set it last

    def start(self, work: Sequence[Callable[[], T]]) -> list[Future[T]]:
        """Start each function in a thread; not more than there are, so that they run side by side."""
        assert len(work) <= self.count, (len(work), self.count)
        return [self._pool.submit(each) for each in work]

    def run(self, work: Sequence[Callable[[], T]]) -> list[T]:
        """Run functions as `start` does, to their ends; one's error is raised when all have ended."""
        started = self.start(work)
        wait(started)
        return [each.result() for each in started]

    def call(self, work: Callable[[], T]) -> T:
        """Call a function in a thread."""
        return self.run([work])[0]


def side_by_side(work: Sequence[Callable[[], T]], device: torch.device) -> Iterator[T]:
    """Results of functions in their order; on a CPU as many at a time as there are threads, each computing alone.

    So what they compute has the same bits with any number of threads.
    """
    if device.type != "cpu" or torch.get_num_threads() == 1:
        yield from (each() for each in work)
        return
    at_a_time = min(torch.get_num_threads(), max(len(work), 1))
    threads = Threads(at_a_time)
    for place in range(0, len(work), at_a_time):
        yield from threads.run(work[place : place + at_a_time])


def direct(work: Callable[[], T]) -> T:
    """Call a function here: `Threads.call` where operations have no threads."""
    return work()


def _compute_alone() -> None:
    # Once in a thread: setting it drops what oneDNN keeps. Asked for, it is settled: else a thread's first operation
    # sets it anew.
    torch.set_num_threads(1)
    torch.get_num_threads()
