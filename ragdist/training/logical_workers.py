"""The logical workers of a process: equal parts of its batch, each computed in one thread.

On a CPU they are computed side by side, as many at a time as the process has threads, without threads inside of an
operation; so the gradients of each have the same bits whatever is computed beside it. On a GPU they follow each other.
"""

import threading

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ragdist.distributed import summation
from ragdist.distributed.world import World

Gradients = list[Tensor | None]  # of an update's parameters, in their order


class Collected:
    """Gradients of logical workers, added up as soon as both sides of a sum are there.

    Args:
        count: logical workers of the global batch.
    """

    def __init__(self, count: int):
        self.whole = range(count)
        self.sums: dict[range, Gradients] = {}
        self._lock = threading.Lock()

    def add(self, number: int, gradients: Gradients) -> None:
        """Add the gradients of a logical worker, which are overwritten."""
        terms = range(number, number + 1)
        while terms != self.whole:
            parent, other = _around(terms, self.whole)
            with self._lock:
                if other not in self.sums:
                    self.sums[terms] = gradients
                    return
                found = self.sums.pop(other)
            left, right = (gradients, found) if terms.start < other.start else (found, gradients)
            terms, gradients = parent, added(left, right)
        with self._lock:
            self.sums[terms] = gradients


class ForwardState:
    """Buffers that forwards change, as the vectors of a spectral normalization.

    Every logical worker begins with the ones that the first has left in the update before.

    Args:
        update: the losses; has them.
        world: the workers, of whom rank 0 computes the first logical worker.
    """

    def __init__(self, update: nn.Module, world: World):
        self.world, self._of = world, _changing(update)
        self._now = [buffer.clone() for buffer in self._of]
        self._next: list[Tensor] = self._now

    def begin(self, module: nn.Module) -> None:
        """Set the buffers of the update, or a replica, that computes a logical worker."""
        if self._now:
            _copy(_changing(module), self._now)

    def end(self, module: nn.Module, number: int) -> None:
        """Note what a logical worker has left."""
        if self._now and number == 0:
            self._next = [buffer.clone() for buffer in _changing(module)]

    def settle(self) -> None:
        """Take over what the first logical worker has left; all workers must call."""
        for now, buffer in zip(self._now, self._next, strict=True):
            now.copy_(buffer)
            if self.world.size > 1:
                dist.broadcast(now, 0)
        _copy(self._of, self._now)


def _changing(module: nn.Module) -> list[Tensor]:
    """A module's buffers that are saved: others are constants."""
    saved = module.state_dict().keys()
    return [buffer for name, buffer in module.named_buffers() if name in saved]


def _copy(buffers: list[Tensor], values: list[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def added(left: Gradients, right: Gradients) -> Gradients:
    """Add gradients, in place of the first; a parameter without a gradient has zeros."""
    pairs = list(zip(left, right, strict=True))
    both = [(mine, other) for mine, other in pairs if mine is not None and other is not None]
    if both:
        with torch.no_grad():
            torch._foreach_add_([mine for mine, _ in both], [other for _, other in both])
    return [other if mine is None else mine for mine, other in pairs]


def _around(terms: range, whole: range) -> tuple[range, range]:
    """The sum that a subtree is a side of, and its other side."""
    node = whole
    while True:
        left, right = summation.halves(node)
        if terms in (left, right):
            return node, right if terms == left else left
        node = left if terms.start < left.stop else right
