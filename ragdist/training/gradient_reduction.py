"""Gradients of the global batch: of all its logical workers, added up in an order that the configuration decides.

A worker computes a contiguous run of the logical workers, and adds their gradients along the tree of
`distributed.summation` as far as it has both sides of a sum; what remains is exchanged. So gradients have the same bits
on any number of workers and threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ragdist.distributed.world import World
from ragdist.tools.threads import Threads
from ragdist.training.batch import Batch
from ragdist.training.gradient_buckets import Buckets, fill, views
from ragdist.training.gradient_exchange import Exchange
from ragdist.training.logical_workers import Collected, ForwardState, Gradients
from ragdist.training.update import Update

Compute = Callable[[nn.Module, int, AbstractContextManager], None]


class Reduction:
    """The gradients of the global batch, from each worker's slots.

    Args:
        update: the losses; its parameters get the gradients.
        world: the workers.
        count: logical workers of the global batch.
        micro_batch: slots of a logical worker that are computed at a time; 0: all.
        one_pass: whether one backward reaches every parameter, so that buckets can leave before its end.
    """

    def __init__(self, update: Update, world: World, count: int, *, micro_batch: int, one_pass: bool):
        self.update, self.world, self.micro_batch, self.count = update, world, micro_batch, count
        self.mine = world.logical_workers(count)
        cpu = world.device.type == "cpu"
        # On a GPU threads gain nothing: one of PyTorch's serves all backwards.
        self.threads = Threads(min(torch.get_num_threads(), len(self.mine))) if cpu else None
        self.replicas = [update.replica() for _ in range(self.threads.count if cpu else 1)]
        self.forward_state = ForwardState(update, world)
        self.exchange = Exchange(world, count) if world.size > 1 else None
        self.buckets = Buckets(update, world, self.exchange, self.replicas[1:]) if self.exchange and one_pass else None
        if self.exchange and not one_pass:
            for parameter in update.parameters():
                dist.broadcast(parameter.data, 0)

    def backward(self, batch: Batch, phase: str, lam: float, penalty: bool, signals: Tensor) -> None:
        """Leave the gradients of the global batch in the networks and in ``update.report``.

        Args:
            batch: this worker's slots.
            phase: of the update.
            lam: the relative term's weight now.
            penalty: whether the gradient penalties are due.
            signals: this worker's, float32 [len(SIGNALS)].
        """
        slots = len(batch.z) // len(self.mine)
        parts = dict(zip(self.mine, batch.split(slots), strict=True))

        def compute(module: nn.Module, number: int, last: AbstractContextManager) -> None:
            self.forward_state.begin(module)
            *before, final = parts[number].split(self.micro_batch or slots)
            for part in before:
                with _no_reduction(module):
                    module(part, phase, lam, penalty)[0].backward()
            with last:
                said = signals if number == self.mine.start else None
                module(final, phase, lam, penalty, said)[0].backward()
            self.forward_state.end(module, number)

        if self.buckets:
            self._reduce_meanwhile(compute)
        else:
            self._reduce_then(compute)
        self.forward_state.settle()

    def _reduce_then(self, compute: Compute) -> None:
        collected, waiting = Collected(self.count), deque(self.mine)

        def work(replica: Update) -> None:
            for number in _taken(waiting):
                compute(replica, number, nullcontext())
                collected.add(number, replica.take_gradients())

        self._side_by_side([lambda replica=replica: work(replica) for replica in self.replicas])
        self.update.set_gradients(self._exchanged(collected) if self.exchange else collected.sums[range(self.count)])

    def _exchanged(self, collected: Collected) -> Gradients:
        """The gradients of all workers; parameters without any, on all alike, stay without."""
        found = [collected.sums[terms] for terms in self.exchange.mine]
        parameters = list(self.update.parameters())
        present = [place for place, all_of in enumerate(zip(*found, strict=True)) if any(g is not None for g in all_of)]
        with_gradients = [parameters[place] for place in present]
        length = sum(parameter.numel() for parameter in with_gradients)
        rows = self.exchange.rows(length, self.update.report.data)
        for row, gradients in zip(rows, found, strict=True):
            fill(row, with_gradients, [gradients[place] for place in present])
        whole: Gradients = [None] * len(parameters)
        for place, gradient in zip(present, views(self.exchange(rows), with_gradients), strict=True):
            whole[place] = gradient
        return whole

    def _reduce_meanwhile(self, compute: Compute) -> None:
        """Compute as many logical workers as there are replicas last and at a time, and reduce what all have passed."""
        count = len(self.replicas)
        waiting, last = deque(self.mine[:-count]), self.mine[-count:]
        collected, buckets = Collected(self.count), self.buckets
        buckets.begin(collected, last, before=len(waiting))

        def work(which: int) -> None:
            with buckets.failing():
                for number in _taken(waiting):
                    compute(self.replicas[which], number, nullcontext())
                    collected.add(number, self.replicas[which].take_gradients())
                    buckets.collected_one()
                if which == 0:
                    compute(buckets.wrapped, last[0], nullcontext())
                else:
                    compute(self.replicas[which], last[which], buckets.watched(which - 1))

        self._side_by_side([lambda which=which: work(which) for which in range(count)])
        if buckets.failure:
            raise buckets.failure
        for replica in self.replicas:
            replica.zero_grad(set_to_none=True)

    def _side_by_side(self, work: Sequence[Callable[[], None]]) -> None:
        if self.threads:
            self.threads.run(work)
        else:
            for each in work:
                each()

    def rehearse(self, batch: Batch, phase: str, lam: float, penalty: bool) -> None:
        """Run backwards without reduction, so that what is made on first use (compiled code) is there."""
        part = batch.split(len(batch.z) // len(self.mine))[0]
        sizes = {len(each.z): each for each in part.split(self.micro_batch or len(part.z))}

        def run(module: nn.Module) -> None:
            for each in sizes.values():
                with _no_reduction(module):
                    module(each, phase, lam, penalty)[0].backward()
            module.zero_grad(set_to_none=True)

        modules: list[nn.Module] = [*self.replicas]
        if self.buckets:  # the first replica has a part only where there are more logical workers than threads
            modules = [self.buckets.wrapped, *self.replicas[len(self.mine) <= len(self.replicas) :]]
        for module in modules:
            self._side_by_side([lambda module=module: run(module)])


def _no_reduction(module: nn.Module) -> AbstractContextManager:
    return nullcontext() if isinstance(module, Update) else module.no_sync()


def _taken(waiting: deque[int]) -> Iterator[int]:
    """What is waiting, one after the other, to whichever thread asks next."""
    while waiting:
        try:
            yield waiting.popleft()
        except IndexError:  # another thread took the last
            return
