"""One job a shard, in several processes, watched as a whole."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ragdist.child import follow_parent
from ragdist.errors import UserError
from ragdist.progress import Progress

Job, Result = TypeVar("Job"), TypeVar("Result")
Advance = Callable[[int], None]

_SECONDS = 0.5  # from one look at the count to the next
_counter: Any = None  # of a worker process: what all of them have done


def each(
    work: Callable[[Job, Advance], Result], jobs: Sequence[Job], processes: int, progress: Progress, unit: int = 1
) -> Iterator[Result]:
    """The results of ``work(job, advance)``, in the jobs' order.

    Args:
        work: a module's function; it calls ``advance(n)`` as it gets on.
        processes: how many work; 1: this one; 0: as many as there are cores.
        progress: is moved by what the jobs advance, divided by ``unit``.

    Raises:
        UserError: a job raised it, or a process was killed. The other jobs are ended.
    """
    processes = min(processes or len(os.sched_getaffinity(0)), len(jobs))
    if processes <= 1:
        yield from _here(work, jobs, progress, unit)
        return
    context = multiprocessing.get_context("forkserver")  # a fork would copy the locks of PyTorch's threads
    context.set_forkserver_preload(["torch", work.__module__])  # imported once, instead of by each process
    counter = context.Value("Q", 0)
    with _executor(context, processes, counter) as executor:
        futures = [executor.submit(_work, work, job) for job in jobs]
        shown = 0
        for future in futures:
            while not wait([future], timeout=_SECONDS).done:
                shown = _show(progress, shown, counter.value // unit)
            try:
                result = future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "a process was killed, perhaps because memory was short: try again with fewer --processes"
                ) from error
            shown = _show(progress, shown, counter.value // unit)
            yield result


def _here(work: Callable, jobs: Sequence, progress: Progress, unit: int) -> Iterator:
    done = shown = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        shown = _show(progress, shown, done // unit)

    for job in jobs:
        yield work(job, advance)


def _show(progress: Progress, shown: int, done: int) -> int:
    if done > shown:
        progress.advance(done - shown)
        progress.describe()
    return done


@contextmanager
def _executor(context, processes: int, counter) -> Iterator[ProcessPoolExecutor]:
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(processes, context, _settle, (counter,))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:  # or they would finish their shards first
            child.terminate()
        raise
    finally:
        executor.shutdown()


def _work(work: Callable, job: Any) -> Any:
    return work(job, _advance)


def _advance(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count


def _settle(counter) -> None:
    """A worker leaves Ctrl-C to the command, computes on its own core alone, and ends with the command."""
    import torch

    global _counter
    _counter = counter
    torch.set_num_threads(1)
    follow_parent()
