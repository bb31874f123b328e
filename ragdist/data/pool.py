"""Processes that work through a list of jobs, and end with the one that started them, however it ends."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ragdist.child import follow_parent
from ragdist.data.pack import Packer, Stopped
from ragdist.errors import UserError

Job = tuple[Any, Callable, tuple]  # (what to call it, function of the packer and the arguments, arguments)

_packer: Packer | None = None  # of a writing process, set when it starts


class Workers:
    """Runs jobs; a context manager. With one process or less, in this one.

    Args:
        packer: what each job is given first.
        processes: how many at most.
        advance: called now and then with the number of images done since the last call.
    """

    def __init__(self, packer: Packer, processes: int, advance: Callable[[int], None]):
        self.packer, self.processes, self.advance = packer, processes, advance
        self.pool = None

    def __enter__(self) -> "Workers":
        if self.processes > 1:
            # Spawned and not forked: a fork copies the locks of this process's threads in whatever state they are.
            context = multiprocessing.get_context("spawn")
            self.count, self.stop = context.Value("q", 0), context.RawValue("b", 0)
            self.seen = 0
            self.pool = ProcessPoolExecutor(
                self.processes, context, initializer=_start, initargs=(self.packer, self.count, self.stop)
            )
        else:
            self.packer.advance = self.advance
        return self

    def __exit__(self, *exception) -> None:
        if self.pool:
            self.stop.value = 1
            self.pool.shutdown(wait=True, cancel_futures=True)

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Any, Any]]:
        """(name, result) of each job as it is done. Jobs are taken from the iterator as processes become free,
        so that it may add to them what results have made possible.

        Raises:
            UserError: from a job, or a process was killed.
        """
        if not self.pool:
            for name, function, arguments in jobs:
                yield name, function(self.packer, *arguments)
            return
        running = {}
        while True:
            # A second job for each process is at hand, so that none waits for this one; more would fill the memory.
            while len(running) < 2 * self.processes and (job := next(jobs, None)) is not None:
                name, function, arguments = job
                running[self.pool.submit(_work, function, arguments)] = name
            if not running:
                return
            done, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
            self._count()
            for future in done:
                name = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    raise UserError(
                        "a writing process was killed, perhaps because memory ran out: run the same command again, "
                        "with fewer --processes"
                    ) from error
                yield name, result

    def _count(self) -> None:
        total = self.count.value
        self.advance(total - self.seen)
        self.seen = total


def _work(function: Callable, arguments: tuple) -> Any:
    return function(_packer, *arguments)


def _start(packer: Packer, count, stop) -> None:
    """A writing process leaves Ctrl-C to its parent, and ends with it."""
    global _packer
    follow_parent()

    def advance(images: int) -> None:
        if stop.value:
            raise Stopped
        if images:
            with count.get_lock():
                count.value += images

    packer.advance = advance
    _packer = packer
