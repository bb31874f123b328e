"""Worker processes of this machine that share one piece of work, without Ray; rank 0 is the calling process."""

import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from ragdist.distributed.world import World, pick_device
from ragdist.tools import memory, plugins
from ragdist.tools.errors import UserError
from ragdist.tools.follow_parent import follow_parent, start_context

_MEETING = timedelta(seconds=30)  # for all to meet once they are ready, which takes none
_PATIENCE = timedelta(hours=6)  # the others wait while rank 0 does what only one can
_LAST_WORDS = 10.0  # seconds in which a process that failed says why
_HERE = "127.0.0.1"
_HELPS = "try a smaller --batch"


def share(size: int, device: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``work(world, *arguments)`` on ``size`` ranks; rank 0's result, when all have ended.

    Args:
        size: processes, this one included; 1: this one alone.
        device: of all, as `pick_device` takes it. GPUs without a number are given out, one to each process; on the CPU
            the processes share the threads that this one has.
        work: a function of a module: it is called in new processes, too. On rank 0 it calls ``world.alive()`` now and
            then, so as not to work on for nothing.

    Raises:
        UserError: there are fewer GPUs than processes, a process was killed, or ``work`` raises one anywhere.
    """
    first = pick_device(device, deterministic=True)
    if size == 1:
        with memory.oom_as_user_error(first, _HELPS):
            return work(World(0, 1, first), *arguments)
    spread = first.type == "cuda" and device in ("auto", "cuda")
    if spread and size > torch.cuda.device_count():
        raise UserError(
            f"--workers {size}: the GPUs of this machine are {torch.cuda.device_count()}, and each worker takes one; "
            "give as many, or --device cpu"
        )
    if first.type == "cuda" and not spread:
        raise UserError(
            f"--device {device} is one GPU: give --device cuda, of which each of --workers {size} takes one"
        )
    threads = torch.get_num_threads()
    count = max(1, threads // size) if first.type == "cpu" else threads
    others = _Others()
    try:
        port, store = _store(size)
        task = pickle.dumps((work, arguments))  # apart: what it holds may be of a plugin
        for rank in range(1, size):
            others.start(rank, size, port, f"cuda:{rank}" if spread else "cpu", count, plugins.loaded(), task)
        others.await_start()
        torch.set_num_threads(count)
        with memory.oom_as_user_error(first, _HELPS):
            found = work(_watched(others, store, size, first), *arguments)
        others.end()
        return found
    except RuntimeError:  # a collective's, it may be, because another process has gone
        others.await_end()
        others.check()
        raise
    finally:
        others.kill()
        torch.set_num_threads(threads)
        if dist.is_initialized():
            dist.destroy_process_group()


def _store(size: int) -> tuple[int, dist.TCPStore]:
    """The store where the processes meet, and its port, on loopback: nobody else reaches it."""
    listening = socket.create_server((_HERE, 0))
    port = listening.getsockname()[1]
    # It takes the socket over.
    store = dist.TCPStore(
        _HERE, port, size, is_master=True, wait_for_workers=False, timeout=_MEETING, master_listen_fd=listening.detach()
    )
    return port, store


def _watched(others: "_Others", store: dist.Store, size: int, device: torch.device) -> World:
    """Join the group on rank 0, in a thread, for it waits for a process that has gone; raises as `check` does."""
    met: Future[World] = Future()

    def meet() -> None:
        try:
            met.set_result(_met(store, 0, size, device, others.check))
        except BaseException as error:
            met.set_exception(error)

    threading.Thread(target=meet, daemon=True).start()
    while not met.done():
        wait_for([met], timeout=0.1)
        others.check()
    return met.result()


def _met(store: dist.Store, rank: int, size: int, device: torch.device, alive: Callable[[], None]) -> World:
    """Join the process group: the world, when all are there. Collectives carry tensors of the host: gloo does."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_MEETING)
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    dist.barrier()  # one that failed at once would leave others waiting to meet it
    return World(rank, size, device, size, group, alive)


class _Failure(NamedTuple):
    """The failure of a process."""

    at: float  # by time.time()
    text: str
    mistake: bool  # the user's; else ours, with its traceback


class _Others:
    """The worker processes, all ranks but 0."""

    def __init__(self):
        self.context = start_context()
        self.processes: list[Any] = []
        self.lines: list[Connection] = []
        self.failures: list[_Failure] = []
        self.answered: set[int] = set()  # ranks that are ready, or have failed

    def start(self, *task: Any) -> None:
        line, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_run, args=(theirs, *task), daemon=True)
        # This process hears Ctrl-C when the new one has started, which never does.
        heard: list[int] = []
        handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        try:
            process.start()
            self.processes.append(process)
            self.lines.append(line)
            theirs.close()
        finally:
            signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)

    def await_start(self) -> None:
        """Wait until each is ready to work; raises as `check` does."""
        for rank, (process, line) in enumerate(zip(self.processes, self.lines, strict=True), 1):
            while rank not in self.answered and process.exitcode is None:
                wait([line])
                self.check()
        self.check()

    def await_end(self) -> None:
        """Wait until one has failed, or all have ended, or a while is over."""
        end = time.monotonic() + _LAST_WORDS
        while time.monotonic() < end and not self._bad() and any(process.is_alive() for process in self.processes):
            wait([process.sentinel for process in self.processes], timeout=0.1)

    def check(self) -> None:
        """Check that all live, or have done their work.

        Raises:
            UserError: the user's mistake that one of them found, or that one was killed.
            RuntimeError: another failure, with its traceback.
        """
        bad, size = self._bad(), len(self.processes) + 1
        for rank, line in enumerate(self.lines, 1):
            with suppress(EOFError):  # it has ended
                while line.poll():
                    said = line.recv()
                    self.answered.add(rank)
                    if isinstance(said, _Failure):
                        self.failures.append(said)
        for rank, code in bad:  # before what others say, who may have lost their connection to it
            if code == -signal.SIGKILL:
                raise UserError(
                    f"worker {rank} of {size} was killed (SIGKILL), which the system does when memory runs out: try "
                    "fewer --workers or a smaller --batch"
                )
            if code < 0:
                raise UserError(f"worker {rank} of {size} was ended by {signal.Signals(-code).name}")
        if self.failures:
            first = min(self.failures)
            raise UserError(first.text) if first.mistake else RuntimeError(first.text)
        if bad:
            raise RuntimeError(f"worker {bad[0][0]} of {size} ended with exit code {bad[0][1]}")

    def _bad(self) -> list[tuple[int, int]]:
        """Ranks that failed, and their exit codes."""
        codes = [process.exitcode for process in self.processes]
        return [(rank, code) for rank, code in enumerate(codes, 1) if code]

    def end(self) -> None:
        for process in self.processes:
            process.join()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _run(
    line: Connection,
    rank: int,
    size: int,
    port: int,
    device: str,
    threads: int,
    loaded: tuple[plugins.Plugin, ...],
    task: bytes,
) -> None:
    """Run the work of a worker process."""
    follow_parent()
    torch.set_num_threads(threads)
    try:
        plugins.take(loaded)
        work, arguments = pickle.loads(task)
        device = pick_device(device, deterministic=True)
        line.send("ready")
        store = dist.TCPStore(_HERE, port, size, is_master=False, timeout=_MEETING)
        with memory.oom_as_user_error(device, _HELPS):
            work(_met(store, rank, size, device, lambda: None), *arguments)
        dist.destroy_process_group()
    except Exception as error:
        mistake = isinstance(error, UserError)
        text = str(error) if mistake else f"worker {rank} of {size} failed:\n{traceback.format_exc()}"
        with suppress(BrokenPipeError):  # rank 0 is gone, and this process is next
            line.send(_Failure(time.time(), text, mistake))
        sys.exit(1)
