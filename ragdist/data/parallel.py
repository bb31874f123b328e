"""Processes that work through jobs, watched as a whole; they end with the command, however it ends."""

import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from ragdist.tools.follow_parent import follow_parent, start_context
from ragdist.tools.limits import reached
from ragdist.tools.machine import cpu_count
from ragdist.tools.progress import Progress

Name, Job, Result = TypeVar("Name"), TypeVar("Job"), TypeVar("Result")
Advance = Callable[[int], None]

_SECONDS = 0.25  # from one look at what is done to the next
_work: Callable[[Any, Advance], Any] | None = None  # of a process of the pool, and how it counts: set when it starts
_advance: Advance | None = None


class Workers:
    """A pool of processes, as a context; with one process or less, this one works itself.

    Args:
        work: ``work(job, advance)`` makes a job's result and calls ``advance(n)`` as it gets on; pickled once for each
            process.
        processes: how many at most.
        advance: is called now and then with what all jobs have advanced by since the last call.
        torch: whether ``work`` computes with PyTorch. Each process then does so on one core, and it is imported once
            for all; a process that needs none starts in a fraction of a second.
    """

    def __init__(self, work: Callable[[Job, Advance], Result], processes: int, advance: Advance, *, torch: bool):
        self.work, self.processes, self.advance, self.torch = work, processes, advance, torch
        self._executor: ProcessPoolExecutor | None = None
        self._running: dict[Future, Any] = {}
        self._members: dict[int, Any] = {}  # processes by their number
        self._told = 0

    def __enter__(self) -> "Workers":
        if self.processes > 1:
            work = pickle.dumps(self.work)  # apart: what it holds may be of a plugin
            try:
                self._make_pool(work)
            except OSError as error:
                why = reached(error) or f"{error.strerror}; a full or read-only /dev/shm or temporary folder does that"
                print(f"warning: one process does all of the work, as others cannot start ({why})", file=sys.stderr)
        return self

    def _make_pool(self, work: bytes) -> None:
        context = start_context(["torch", self.work.__module__] if self.torch else None)
        # Each process counts for itself: one that is killed leaves no lock behind.
        self._done, number = context.RawArray("Q", self.processes), context.Value("i", 0)
        self._until, self._life = context.Pipe(duplex=False)
        start = (plugins.loaded(), work, self._done, number, self._until, self.torch)
        self._executor = ProcessPoolExecutor(self.processes, context, _start, start)

    def __exit__(self, *exception) -> None:
        if self._executor:
            if self._running:  # nobody wants the results
                self._life.close()
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._life.close()
            self._until.close()

    def run(self, jobs: Iterable[tuple[Name, Job]]) -> Iterator[tuple[Name, Result]]:
        """(name, result) of each (name, job) as it is done.

        Jobs are taken from the iterable as processes become free, so that it may add to them what results have made
        possible.

        Raises:
            UserError: from a job, or a process was killed.
        """
        if not self._executor:
            yield from ((name, self.work(job, self.advance)) for name, job in jobs)
            return
        for name, future in self._finished(iter(jobs)):
            with self._explained():
                result = future.result()
            yield name, result

    def in_order(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Results in the order of the jobs; of several errors the first job's is raised.

        Raises:
            UserError: as `run`.
        """
        if not self._executor:
            yield from (self.work(job, self.advance) for job in jobs)
            return
        early: dict[int, Future] = {}
        turn = 0
        for number, future in self._finished(enumerate(jobs)):
            early[number] = future
            while turn in early:
                with self._explained():
                    result = early.pop(turn).result()
                turn += 1
                yield result

    def _finished(self, jobs: Iterator[tuple[Name, Job]]) -> Iterator[tuple[Name, Future]]:
        while True:
            # A second job for each process is at hand, so that none waits for this one; more would fill the memory.
            while len(self._running) < 2 * self.processes and (next_one := next(jobs, None)) is not None:
                name, job = next_one
                with self._explained():
                    self._running[self._executor.submit(_run, job)] = name
                self._members |= self._executor._processes or {}
            if not self._running:
                return
            done, _ = wait(self._running, timeout=_SECONDS, return_when=FIRST_COMPLETED)
            total = sum(self._done)
            self.advance(total - self._told)
            self._told = total
            for future in done:
                yield self._running.pop(future), future

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            # The others were killed when the first had died. The pool's own thread asks for their codes, too.
            # Of two who ask at once one is told wrongly: it comes first.
            self._executor.shutdown(wait=True, cancel_futures=True)
            codes = {member.exitcode for member in self._members.values()} - {None, 0, -signal.SIGKILL}
            if codes and (code := min(codes)) < 0:
                raise UserError(
                    f"a working process was ended by {signal.Signals(-code).name}: a file that it reads was cut, or "
                    "what decodes it failed; --processes 1 does without such processes"
                ) from error
            raise UserError(
                "a working process was killed, perhaps because memory ran out: run the same command again, with fewer "
                "--processes"
            ) from error


def _run(job: Any) -> Any:
    return _work(job, _advance)


def _start(loaded: tuple[plugins.Plugin, ...], work: bytes, done, number, until, torch: bool) -> None:
    """The start of a process of the pool."""
    global _work, _advance
    follow_parent(until)
    plugins.take(loaded)
    if torch:
        from torch import set_num_threads

        set_num_threads(1)
    with number.get_lock():
        place = number.value
        number.value += 1

    def advance(count: int) -> None:
        done[place] += count

    _work, _advance = pickle.loads(work), advance


def each(
    work: Callable[[Job, Advance], Result], jobs: Sequence[Job], processes: int, progress: Progress, unit: int = 1
) -> Iterator[Result]:
    """The results of a function that computes with PyTorch, in the jobs' order.

    Args:
        work: a module's function; it calls ``advance(n)`` as it gets on.
        jobs: what it is given, one after the other.
        processes: how many work; 1: this one; 0: as many as there are CPUs.
        progress: is moved by what the jobs advance, divided by ``unit``.

    Raises:
        UserError: a job raised it, or a process was killed. The other jobs are ended.
    """
    done = shown = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        if done // unit > shown:
            progress.advance(done // unit - shown)
            progress.describe()
            shown = done // unit

    with Workers(work, min(processes or cpu_count(), len(jobs)), advance, torch=True) as workers:
        yield from workers.in_order(jobs)
