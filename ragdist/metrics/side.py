"""One side of a comparison, fakes or reals: what the measures need of it, gathered batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ragdist.errors import UserError
from ragdist.files import write_whole
from ragdist.metrics.dataset import Batch
from ragdist.metrics.features import Extractor
from ragdist.metrics.moments import Moments
from ragdist.world import World


@dataclass
class Side:
    """All of it on the host. `Collector.together` makes one of the workers' parts."""

    moments: Moments  # of all samples
    features: Tensor  # float32 [n, d], of the first n of them
    logits: Tensor | None  # float32 [n, K]
    labels: Tensor  # int64 [n]; -1: none
    numbers: Tensor  # int64 [n]: which samples of the sequence these are (bad ones are missing)

    @property
    def count(self) -> int:
        """Samples in the moments."""
        return int(self.moments.count)


class Collector:
    """Gathers a side batch by batch.

    Args:
        extractor: of the features.
        keep: features are kept of the places below this; all others only count in the moments.
        device: where the extractor computes.
    """

    def __init__(self, extractor: Extractor, keep: int, device: torch.device | str = "cpu"):
        self.extractor, self.keep, self.device = extractor, keep, device
        self.moments = Moments.zero(extractor.dim)
        self.parts: list[tuple[Tensor, Tensor | None, Tensor, Tensor]] = []

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Raises UserError where features are not finite."""
        features, logits = self.extractor(batch.images.to(self.device))
        features = features.float().cpu()
        if not features.isfinite().all():
            raise UserError(
                f"the {self.extractor.name} features of a sample are not finite: the samples cannot be judged"
            )
        self.moments.add(features)
        kept = batch.places < self.keep
        logits = None if logits is None else logits.float().cpu()[kept]
        self.parts.append((features[kept], logits, batch.labels[kept], batch.places[kept]))

    def side(self) -> Side:
        """What was gathered; raises UserError where that is nothing."""
        if not self.parts:
            raise UserError("there is no sample that can be judged")
        features, logits, labels, places = (
            None if column[0] is None else torch.cat(column) for column in zip(*self.parts, strict=True)
        )
        return _ordered(Side(self.moments, features, logits, labels, places))

    def together(self, world: World, most: int, *, logits: bool) -> Side | None:
        """The side of all workers on rank 0, None on the others; all must call.

        Moments are summed. What goes to rank 0 whole is labels, the features of at most ``most`` samples, which
        measures of pairs need, and with ``logits`` those.

        Raises:
            UserError: nobody has any; on all ranks.
        """
        if world.size == 1:
            return self.side()
        mine = self.side() if self.parts else None
        moments = [world.total(value) for value in vars(self.moments).values()]
        if not moments[0]:
            raise UserError("there is no sample that can be judged")
        features = mine and mine.features[mine.numbers < most]
        features, labels, numbers = (
            world.rows(value) for value in (features, mine and mine.labels, mine and mine.numbers)
        )
        found = world.rows(mine.logits if mine and logits else None)
        return _ordered(Side(Moments(*moments), features, found, labels, numbers)) if world.rank == 0 else None


def _ordered(side: Side) -> Side:
    order = side.numbers.argsort()
    logits = None if side.logits is None else side.logits[order]
    # Of several workers there may be features of the first places only; parts of a side are ordered by place.
    features = side.features[order[: len(side.features)]] if len(side.features) == len(order) else side.features
    return Side(side.moments, features, logits, side.labels[order], side.numbers[order])


def save(path: Path, side: Side) -> None:
    """Write a side as one safetensors file, whole."""
    from safetensors.torch import save as to_bytes

    tensors = {f"moments.{name}": value.contiguous() for name, value in vars(side.moments).items()}
    tensors |= {name: value for name, value in vars(side).items() if isinstance(value, Tensor)}
    write_whole(path, to_bytes({name: value.clone() for name, value in tensors.items()}))


def load(path: Path) -> Side | None:
    """A side that was saved; None where there is none, or a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        moments = Moments(*(tensors.pop(f"moments.{name}") for name in ("count", "total", "outer")))
        return Side(moments, tensors["features"], tensors.get("logits"), tensors["labels"], tensors["numbers"])
    except (OSError, SafetensorError, KeyError):
        return None
