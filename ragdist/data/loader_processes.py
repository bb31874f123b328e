"""Loader processes: batches that are read and decoded ahead of the training, in the order of its updates.

They hold nothing that a checkpoint would have to keep: one that dies costs nothing, and where the system lets none work
that is a matter of speed alone.
"""

import errno
import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from ragdist.data.reader import BadSample, SlotDataset, Slots, Updates
from ragdist.tools.errors import Unreachable, UserError
from ragdist.tools.follow_parent import follow_parent, start_context
from ragdist.tools.limits import open_files, reached

_LAST = 1.0  # seconds in which the system tells how a process ended with which a connection broke
_SHARED = "/dev/shm"
# Open files: of a trainer, and of each of its loader processes in it; of a loader process beside shards, and of a batch
# on its way.
_OF_A_TRAINER, _OF_A_PROCESS, _OF_A_LOADER, _OF_A_BATCH = 40, 10, 40, 6
# Bytes of a batch from which on shared memory is the faster way: setting it up takes as long as copying so many.
_WORTH_SHARING = 1 << 17
_by_value: str | None = None  # why a loader process sends no batch in shared memory any more


def make_loader(
    dataset: SlotDataset,
    updates: Updates,
    *,
    workers: int,
    prefetch: int,
    pin: bool,
    say: Callable[[str], None] = print,
) -> Iterator[Slots | UserError]:
    """Batches in the order of updates.

    Args:
        dataset: what is read.
        updates: which of its items.
        workers: processes that read ahead; 0: none, this one reads.
        prefetch: items that each has ready or at hand.
        pin: bring the batches to pinned memory.
        say: prints a line, where the system does not let the processes work as they should.

    Returns:
        Slots, or in place of those that cannot be had a UserError; Unreachable, and nothing more, where a process died.
    """
    if workers:
        try:
            processes = _Processes(dataset, updates, workers=workers, prefetch=prefetch, pin=pin)
        except OSError as error:
            why = reached(error) or (
                f"{os.strerror(error.errno)}; a full or read-only {_SHARED} or temporary folder does that"
            )
            say(
                f"no loader processes can be started ({why}): the training process reads the data itself, as with "
                "--data.loader_workers 0"
            )
        else:
            return processes.batches(say)
    return (slots for slots in DataLoader(dataset, batch_size=None, sampler=updates, pin_memory=pin))


class _Processes:
    """Loader processes, which begin to read at once; raises OSError where none can be started."""

    def __init__(self, dataset: SlotDataset, updates: Updates, *, workers: int, prefetch: int, pin: bool):
        if open_files() < _OF_A_TRAINER + _OF_A_PROCESS * workers:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._dataset, self._updates = dataset, updates
        # How many processes are wise is the user's affair, and told by the share of the time that waits for data.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=updates,
            num_workers=workers,
            prefetch_factor=prefetch,
            multiprocessing_context=start_context([__name__]),  # with PyTorch, which this module imports
            worker_init_fn=functools.partial(_settle, prefetch),
            collate_fn=_packed,
            pin_memory=pin,
        )
        with _without_alarm():
            self._iterator = _begun(loader)
        self._processes = list(self._iterator._workers)
        self._dead: list = []  # the process that died first
        self._over = threading.Event()
        line = self._iterator._worker_result_queue._writer
        threading.Thread(target=_watch, args=(self._processes, line, self._dead, self._over), daemon=True).start()

    def __del__(self):
        if hasattr(self, "_over"):  # now the processes are going to be ended
            self._over.set()

    def batches(self, say: Callable[[str], None]) -> Iterator[Slots | UserError]:
        """The batches, until all are there or a process has died."""
        said = False
        for first in self._updates:
            try:
                found = next(self._iterator)
                slots, note = found.opened() if isinstance(found, _Parcel) else (found, "")
            except (OSError, EOFError, RuntimeError) as error:
                if problem := self._death():
                    yield Unreachable(problem)
                    return
                if not (note := reached(error)):
                    raise
                slots = self._dataset[first]  # here, as it did not come through
            if note and not said:
                say(note)
                said = True
            yield slots

    def _death(self) -> str | None:
        """How a process died, in words; None where all live."""
        wait([process.sentinel for process in self._processes], timeout=_LAST)
        codes = [process.exitcode for process in self._dead or self._processes if process.exitcode is not None]
        if not codes:
            return None
        code = next(filter(None, codes), 0)
        if code == -signal.SIGKILL:
            return (
                "a loader process was killed (SIGKILL), which the system does when memory runs out: give fewer "
                "--data.loader_workers or a smaller --data.prefetch"
            )
        if code < 0:
            data = "`python -m ragdist.shards check` tests the data, --data.loader_workers 0 does without the process"
            return f"a loader process was ended by {signal.Signals(-code).name}: {data}"
        return f"a loader process ended with exit code {code}"


def _watch(processes: list, line: Connection, dead: list, over: threading.Event) -> None:
    """End all processes when one dies, and the line on which batches come.

    The others could wait for ever for their turn on it, and the trainer for the rest of a batch that was half sent.
    """
    while not over.is_set():
        if ended := wait([process.sentinel for process in processes], timeout=_LAST):
            if not over.wait(_LAST):
                dead.extend(process for process in processes if process.sentinel in ended)
                for process in processes:
                    process.kill()
                line.close()
            return


def _begun(loader: DataLoader) -> Iterator:
    """Start the processes. Where not all can be started PyTorch's own clean-up fails, too, and would print that."""
    before = set(multiprocessing.active_children())
    try:
        return iter(loader)
    except OSError as error:
        refused = OSError(error.errno, error.strerror)
        hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
        error.__traceback__ = None  # whose frames hold what is half made
        sys.unraisablehook = hook
    for process in set(multiprocessing.active_children()) - before:
        process.kill()
    raise refused


@contextmanager
def _without_alarm() -> Iterator[None]:
    """Keep PyTorch from raising, in the middle of whatever this process does, as soon as a loader process dies.

    An update that is cut in two could not be saved. The death shows when the next batch is waited for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


# In a loader process.


def _settle(prefetch: int, _worker: int) -> None:
    """Set up a loader process: one thread, no life after the trainer, and no words of PyTorch's as it dies."""
    global _by_value
    torch.set_num_threads(1)
    if open_files() // 2 < _OF_A_LOADER + _OF_A_BATCH * prefetch:  # the other half is for shards
        _by_value = (
            "batches go through pipes, which takes longer than shared memory, because a process may have "
            f"{open_files():,} open files (ulimit -n): raise that, or give a smaller --data.prefetch"
        )
    for number in (signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)
    follow_parent()


@dataclass
class _Parcel:
    """A batch on its way: pickled in a loader process, where it can be said what is wrong; Slots once it is opened."""

    content: bytes | Slots
    note: str = ""  # why it does not come in shared memory, in a line for the user

    def opened(self) -> tuple[Slots, str]:
        return pickle.loads(self.content) if isinstance(self.content, bytes) else self.content, self.note

    def pin_memory(self) -> "_Parcel":
        slots, note = self.opened()
        return _Parcel(Slots(*(part.pin_memory() for part in slots[:3]), slots.bad), note)


class _ByValue(NamedTuple):
    """Slots that are pickled as arrays, which takes a tenth of the time that PyTorch's own way does."""

    slots: Slots

    def __reduce__(self):
        return _slots_of, (*(part.numpy() for part in self.slots[:3]), self.slots.bad)


def _slots_of(samples: np.ndarray, labels: np.ndarray, z: np.ndarray, bad: tuple[BadSample, ...]) -> Slots:
    return Slots(*map(torch.from_numpy, (samples, labels, z)), bad)


def _packed(slots: Slots | UserError) -> _Parcel | UserError:
    """Pack a batch for its way to the trainer: in shared memory, or by value where it is small or that is short.

    Here and not in the queue's thread, which would print what is wrong and leave the trainer waiting for ever.
    """
    global _by_value
    if isinstance(slots, UserError):
        return slots
    small = sum(part.nbytes for part in slots[:3]) < _WORTH_SHARING
    reason = "" if small else _by_value
    if not small and not reason:
        try:
            for part in slots[:3]:
                part.share_memory_()
            return _Parcel(bytes(ForkingPickler.dumps(slots)))
        except RuntimeError as error:  # PyTorch's, which says what the system said
            reason = _short_of(str(error).rpartition(": ")[2])
        except OSError as error:  # of sending descriptors, some of which are lost with each try
            reason = _by_value = _short_of(str(error.strerror))
    return _Parcel(pickle.dumps(_ByValue(slots), protocol=pickle.HIGHEST_PROTOCOL), reason or "")


def _short_of(reason: str) -> str:
    return (
        f"batches do not get into shared memory ({_SHARED}: {reason}) and go through pipes, which takes longer: give "
        "it more room (docker run --shm-size 1g), or fewer --data.loader_workers and a smaller --data.prefetch"
    )
