"""Processes of this machine that share one piece of work, without Ray: rank 0 is the process that asks for it."""

import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from ragdist.child import follow_parent
from ragdist.errors import UserError
from ragdist.world import World, pick_device

_MEETING = timedelta(minutes=2)  # for all to meet once they have started
_PATIENCE = timedelta(hours=6)  # the others wait while rank 0 does what only one can
_LAST_WORDS = 10.0  # seconds in which a process that failed says why


def share(size: int, device: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """``work(world, *arguments)`` on ``size`` ranks; what rank 0's returned, when all have ended.

    Args:
        size: processes, this one included; 1: this one alone.
        device: of all, as `pick_device` takes it. GPUs without a number are given out, one to each process; on the CPU
            the processes share the threads that this one has.
        work: a function of a module: it is called in new processes, too.

    Raises:
        UserError: there are fewer GPUs than processes, a process failed or was killed, or ``work`` raises one here.
    """
    first = pick_device(device, deterministic=True)
    if size == 1:
        return work(World(0, 1, first), *arguments)
    spread = first.type == "cuda" and device in ("auto", "cuda")
    if spread and size > torch.cuda.device_count():
        raise UserError(
            f"--workers {size}: the GPUs of this machine are {torch.cuda.device_count()}, and each worker takes one; "
            "give as many, or --device cpu"
        )
    threads = torch.get_num_threads()
    count = max(1, threads // size) if first.type == "cpu" else threads
    with tempfile.TemporaryDirectory(prefix="ragdist-") as folder:
        others = _Others()
        try:
            for rank in range(1, size):
                others.start(rank, size, folder, f"cuda:{rank}" if spread else str(first), count, work, arguments)
            others.await_start()
            torch.set_num_threads(count)
            found = work(_met(folder, 0, size, first), *arguments)
            others.end()
            return found
        except RuntimeError as error:  # a collective's, when another process has gone
            if why := others.why():
                raise UserError(why) from error
            raise
        finally:
            others.kill()
            torch.set_num_threads(threads)
            if dist.is_initialized():
                dist.destroy_process_group()


def _met(folder: str, rank: int, size: int, device: torch.device) -> World:
    """The world, when all are there. What its collectives carry lies on the host, so gloo does for any device."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    store = dist.FileStore(os.path.join(folder, "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_MEETING)
    return World(rank, size, device, size, dist.new_group(backend="gloo", timeout=_PATIENCE))


class _Others:
    """The processes of all ranks but 0, as rank 0 sees them."""

    def __init__(self):
        self.context = torch.multiprocessing.get_context("spawn")
        self.processes: list[Any] = []
        self.lines: list[Connection] = []

    def start(self, *task: Any) -> None:
        line, theirs = self.context.Pipe(duplex=False)
        self.processes.append(self.context.Process(target=_run, args=(theirs, *task), daemon=True))
        self.processes[-1].start()
        self.lines.append(line)
        theirs.close()

    def await_start(self) -> None:
        """Until each is there; raises RuntimeError if one has gone."""
        for line in self.lines:
            try:
                line.recv()
            except EOFError as error:
                raise RuntimeError("a process ended before it began") from error

    def end(self) -> None:
        for process in self.processes:
            process.join()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def why(self) -> str | None:
        """How the first one that failed ended; None where none did."""
        end = time.monotonic() + _LAST_WORDS
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        size = len(self.processes) + 1
        for rank, process in enumerate(self.processes, 1):
            if (process.exitcode or 0) < 0:
                return (
                    f"worker {rank} of {size} was killed ({signal.Signals(-process.exitcode).name}), which the system "
                    "does when memory runs out: try fewer --workers or a smaller --batch"
                )
        said = []
        for rank, line in enumerate(self.lines, 1):
            try:
                if line.poll():
                    said.append((*line.recv(), rank))
            except EOFError:
                continue
        return min(said)[1] if said else None


def _run(
    line: Connection, rank: int, size: int, folder: str, device: str, threads: int, work: Callable, arguments: tuple
) -> None:
    """The life of one of the others."""
    follow_parent()
    torch.set_num_threads(threads)
    line.send("here")
    try:
        work(_met(folder, rank, size, pick_device(device, deterministic=True)), *arguments)
        dist.destroy_process_group()
    except Exception as error:
        what = str(error) if isinstance(error, UserError) else f"worker {rank}: {type(error).__name__}: {error}"
        with suppress(BrokenPipeError):  # rank 0 is gone, and this process is next
            line.send((time.time(), what))
