"""Reduction of the workers' gradients to those of the global batch, one an update.

Every worker's loss is the sum over its slots divided by the global batch, times the number of workers;
the mean over the workers, which both strategies take, is then the gradient of the whole batch.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ragdist.distributed.world import World
from ragdist.training.batch import Batch
from ragdist.training.update import Update

# Gradients are sent in about so many buckets, so that the first is on its way early: PyTorch's 25 MB are all that small
# networks have. A bucket has at least half a megabyte and at most those 25.
_BUCKETS, _LEAST_MB, _MOST_MB = 8, 0.5, 25.0
# Code that is compiled inside DistributedDataParallel's forward is cut where a bucket ends, so that reducing it need
# not wait for the rest of a network's backward. For that PyTorch wants buckets of a megabyte.
_LEAST_COMPILED_MB = 1.0


class NoReduction:
    """The gradients of a single worker: nothing to reduce."""

    def __init__(self, update: Update):
        self.update = update

    def backward(self, parts: Sequence[Batch], phase: str, lam: float, penalty: bool, signals: Tensor) -> None:
        """Leave the gradients of a batch, given in micro-batches, in the networks and in ``update.report``."""
        for part, last in _marked(parts):
            loss, _ = self.update(part, phase, lam, penalty, signals if last else None)
            loss.backward()

    def rehearse(self, parts: Sequence[Batch], phase: str, lam: float, penalty: bool) -> None:
        """Run a backward without reduction, so that what is made on first use (compiled code) is there."""
        _rehearse(self.update, parts, phase, lam, penalty)


class DDPReduction:
    """Reduction by DistributedDataParallel over the update as one module, bucket by bucket during the backward.

    For the one-pass update, whose single backward reaches every parameter.
    """

    def __init__(self, update: Update, world: World):
        devices = [world.device] if world.device.type == "cuda" else None
        megabytes = sum(p.numel() * p.element_size() for p in update.parameters()) / 2**20
        least = _LEAST_COMPILED_MB if update.compiled else _LEAST_MB
        bucket_mb = min(max(megabytes / _BUCKETS, least), _MOST_MB)
        # A row, or a kernel of one pixel, lies in memory alike by several strides, of which gradients have any.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.wrapped = DistributedDataParallel(
            update, device_ids=devices, gradient_as_bucket_view=True, bucket_cap_mb=bucket_mb
        )

    def backward(self, parts: Sequence[Batch], phase: str, lam: float, penalty: bool, signals: Tensor) -> None:
        """Leave the gradients of the global batch in the networks and in ``update.report``."""
        assert phase == "both", phase
        for part, last in _marked(parts):
            with nullcontext() if last else self.wrapped.no_sync():
                loss, _ = self.wrapped(part, phase, lam, penalty, signals if last else None)
                loss.backward()

    def rehearse(self, parts: Sequence[Batch], phase: str, lam: float, penalty: bool) -> None:
        """Run a backward without reduction, so that what is made on first use (compiled code) is there."""
        with self.wrapped.no_sync():
            _rehearse(self.wrapped, parts, phase, lam, penalty)


class FlatReduction:
    """One flat reduction after the backward, of all gradients end to end.

    For the alternating update, whose phases leave one network without gradients.
    """

    def __init__(self, update: Update, world: World):
        self.alone, self.update, self.world = NoReduction(update), update, world
        for parameter in update.parameters():
            dist.broadcast(parameter.data, 0)

    def backward(self, parts: Sequence[Batch], phase: str, lam: float, penalty: bool, signals: Tensor) -> None:
        """Leave the gradients of the global batch in the networks and in ``update.report``."""
        self.alone.backward(parts, phase, lam, penalty, signals)
        gradients = [p.grad for p in self.update.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world.size
        pieces = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(pieces, gradients, strict=True)])

    def rehearse(self, parts: Sequence[Batch], phase: str, lam: float, penalty: bool) -> None:
        """Run a backward without reduction, so that what is made on first use (compiled code) is there."""
        self.alone.rehearse(parts, phase, lam, penalty)


def make_reducer(update: Update, world: World, *, one_pass: bool) -> NoReduction | DDPReduction | FlatReduction:
    """Choose the reduction for this number of workers and kind of update."""
    if world.size == 1:
        return NoReduction(update)
    return DDPReduction(update, world) if one_pass else FlatReduction(update, world)


def _rehearse(update: torch.nn.Module, parts: Sequence[Batch], phase: str, lam: float, penalty: bool) -> None:
    for part in {len(part.z): part for part in parts}.values():  # one of each size
        loss, _ = update(part, phase, lam, penalty)
        loss.backward()


def _marked(parts: Sequence[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Pairs of each part and whether it is the last."""
    for number, part in enumerate(parts, 1):
        yield part, number == len(parts)
