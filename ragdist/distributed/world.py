"""The world of a worker: rank, size, device, collectives. A value that is passed, no globals."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ragdist.tools.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Rank and size as in torch.distributed, and the device this worker computes on.

    With more than one worker the default process group exists; it takes tensors of the CPU, too
    (gloo, or "cpu:gloo,cuda:nccl").
    """

    rank: int
    size: int
    device: torch.device
    local_size: int = 1  # workers on this node
    # Over which `gather` and `broadcast` go, None: the default one. Of its own, so that waiting for a worker that
    # reads or writes a large file does not count as a hang of the training's collectives.
    group: Any = None
    alive: Callable[[], None] = lambda: None  # raises where it is known that another worker has gone

    def logical_workers(self, count: int) -> range:
        """The logical workers, of so many, that this worker computes: contiguous, and together all of them.

        Where they do not divide evenly, the first workers have one more.
        """
        return shares(count, self.size)[self.rank]

    def slots(self, batch: int, count: int) -> range:
        """The slots of a global batch of so many logical workers that this worker computes."""
        mine, slots = self.logical_workers(count), batch // count
        return range(mine.start * slots, mine.stop * slots)

    def gather(self, value: Any) -> list[Any]:
        """Gather every rank's value on every rank, in their order. Values are what JSON takes; all ranks must call."""
        if self.size == 1:
            return [value]
        mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(mine)]), group=self.group)
        longest = max(int(length) for length in lengths)
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(rows, torch.cat([mine, mine.new_zeros(longest - len(mine))]), group=self.group)
        return [json.loads(bytes(row[:n].numpy())) for row, n in zip(rows, map(int, lengths), strict=True)]

    def broadcast(self, data: bytes | None) -> bytes:
        """Broadcast rank 0's bytes to every rank; all ranks must call."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data) if self.rank == 0 else 0])
        dist.broadcast(length, 0, group=self.group)
        mine = bytearray(data) if self.rank == 0 else bytearray(int(length))
        if mine:
            dist.broadcast(torch.frombuffer(mine, dtype=torch.uint8), 0, group=self.group)
        return bytes(mine)

    def run_on_all(self, work: Callable[[], T]) -> T:
        """Run ``work`` on all ranks; where it raises on one, that is raised there, and a UserError on all others.

        All ranks must call. Collectives within ``work`` must not lie behind what one rank alone may fail at.
        """
        if self.size == 1:
            return work()
        found = problem = None
        try:
            found = work()
        except Exception as error:
            problem = error
        text = str(problem) if isinstance(problem, UserError) else problem and f"{type(problem).__name__}: {problem}"
        if said := next(filter(None, self.gather(text)), None):
            raise problem if problem and not isinstance(problem, UserError) else UserError(said)
        return found

    def decide(self, work: Callable[[], T]) -> T:
        """Run ``work`` on rank 0 alone: what it gives on every rank, or its UserError. All ranks must call.

        It gives what JSON takes; of a tuple others get a list.
        """
        return self.gather(self.run_on_all(lambda: work() if self.rank == 0 else None))[0]

    def total(self, values: Tensor) -> Tensor:
        """Sum over the ranks, on every rank; a tensor of the CPU. All ranks must call."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values, group=self.group)
        return values

    def rows(self, values: Tensor | None) -> Tensor | None:
        """Gather all ranks' rows [n, ...] on rank 0, in the ranks' order; None on the others. All ranks must call.

        Tensors of the CPU; n may differ, and None is no row. The result is None where nobody has a row, too.
        """
        if self.size == 1:
            return values
        said = self.gather(None if values is None or not len(values) else [list(values.shape), str(values.dtype)])
        if not any(said):
            return None
        (_, *shape), dtype = next(filter(None, said))
        counts = [about[0][0] if about else 0 for about in said]
        padded = torch.zeros(max(counts), *shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        if counts[self.rank]:
            padded[: counts[self.rank]] = values
        sent = padded.flatten().view(torch.uint8)  # as bytes: gloo does not know every type
        parts = [torch.empty_like(sent) for _ in counts] if self.rank == 0 else None
        dist.gather(sent, parts, dst=0, group=self.group)
        if parts is None:
            return None
        received = [part.view(padded.dtype).view(padded.shape) for part in parts]
        return torch.cat([part[:n] for part, n in zip(received, counts, strict=True)])


def shares(count: int, size: int) -> list[range]:
    """Divide so many among ``size`` workers; the first ones have one more where they do not divide evenly."""
    share, rest = divmod(count, size)
    starts = [rank * share + min(rank, rest) for rank in range(size + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


def pick_device(name: str, *, deterministic: bool = False, tf32: bool = False) -> torch.device:
    """Pick the device of this name, with its number; "auto": a GPU where there is one.

    Args:
        name: as PyTorch writes it, or "auto".
        deterministic: have a GPU use only kernels that give the same bits every time, where PyTorch has them; else it
            tries which ones are fastest for each size.
        tf32: let convolutions on a GPU round their float32 factors to 10 bits of mantissa, as PyTorch does by default.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name}: {reason}; choose cpu, or cuda where there is a GPU") from error
    if device.type != "cuda":
        return device
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.set_device(device)
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # As use_deterministic_algorithms(True, warn_only=True), which imports all of torch.compile.
        torch.set_deterministic_debug_mode("warn")
        torch.utils.deterministic.fill_uninitialized_memory = False  # for finding mistakes; it costs a kernel a tensor
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute without TF32, whatever a run trains with: measures are to be equal everywhere. A decorator."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
