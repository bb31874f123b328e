"""Feature sets: what measures need of fakes or of reals, collected batch by batch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ragdist.distributed.world import World
from ragdist.evaluation.reference_data import Batch
from ragdist.metrics.extractor import Extractor
from ragdist.metrics.moments import Moments
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

_CHECKSUM = "sha256"


@dataclass
class FeatureSet:
    """Moments, features, logits and labels of a set of samples, on the host."""

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
    """A collector of a feature set, batch by batch.

    Args:
        extractor: the feature extractor.
        keep: features are kept of the places below this; all others only count in the moments.
        device: where the extractor computes.
    """

    def __init__(self, extractor: Extractor, keep: int, device: torch.device | str = "cpu"):
        self.extractor, self.keep, self.device = extractor, keep, device
        self.moments = Moments.zero(extractor.dim)
        self.parts: list[tuple[Tensor, Tensor | None, Tensor, Tensor]] = []

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Add a batch. Raises UserError where features are not finite."""
        features, logits = self.extractor(batch.samples.to(self.device))
        features = features.float().cpu()
        if not features.isfinite().all():
            raise UserError(
                f"the {self.extractor.name} features of a sample are not finite: the samples cannot be judged"
            )
        self.moments.add(features)
        kept = batch.places < self.keep
        logits = None if logits is None else logits.float().cpu()[kept]
        self.parts.append((features[kept], logits, batch.labels[kept], batch.places[kept]))

    def feature_set(self) -> FeatureSet:
        """The feature set of all batches that were added. Raises UserError where there is none."""
        if not self.parts:
            raise UserError("there is no sample that can be judged")
        features, logits, labels, places = (
            None if column[0] is None else torch.cat(column) for column in zip(*self.parts, strict=True)
        )
        return _ordered(FeatureSet(self.moments, features, logits, labels, places))

    def gather(self, world: World, most: int, *, logits: bool) -> FeatureSet | None:
        """Gather the feature set of all workers on rank 0; None on the others. All must call.

        Moments are summed. Rank 0 gets all labels, the features of at most ``most`` samples, which measures of pairs
        need, and with ``logits`` all logits.

        Raises:
            UserError: there are no samples; on all ranks.
        """
        if world.size == 1:
            return self.feature_set()
        mine = self.feature_set() if self.parts else None
        moments = [world.total(value) for value in vars(self.moments).values()]
        if not moments[0]:
            raise UserError("there is no sample that can be judged")
        features = mine and mine.features[mine.numbers < most]
        features, labels, numbers = (
            world.rows(value) for value in (features, mine and mine.labels, mine and mine.numbers)
        )
        found = world.rows(mine.logits if mine and logits else None)
        return _ordered(FeatureSet(Moments(*moments), features, found, labels, numbers)) if world.rank == 0 else None


def _ordered(feature_set: FeatureSet) -> FeatureSet:
    order = feature_set.numbers.argsort()
    logits = None if feature_set.logits is None else feature_set.logits[order]
    # Of several workers there may be features of the first places only; parts of a set are ordered by place.
    features = (
        feature_set.features[order[: len(feature_set.features)]]
        if len(feature_set.features) == len(order)
        else feature_set.features
    )
    return FeatureSet(feature_set.moments, features, logits, feature_set.labels[order], feature_set.numbers[order])


def save(path: Path, feature_set: FeatureSet) -> None:
    """Write a feature set as one safetensors file, whole."""
    tensors = {f"moments.{name}": value.contiguous() for name, value in vars(feature_set.moments).items()}
    tensors |= {name: value for name, value in vars(feature_set).items() if isinstance(value, Tensor)}
    write_tensors(path, {name: value.clone() for name, value in tensors.items()})


def load(path: Path) -> FeatureSet | None:
    """Load a feature set; None where there is no file, or a damaged one."""
    tensors = read_tensors(path)
    try:
        moments = Moments(*(tensors.pop(f"moments.{name}") for name in ("count", "total", "outer")))
        return FeatureSet(moments, tensors["features"], tensors.get("logits"), tensors["labels"], tensors["numbers"])
    except KeyError:
        return None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as one safetensors file, whole, with a checksum of them in its metadata."""
    from safetensors.torch import save as to_bytes

    write_whole(path, to_bytes(tensors, {_CHECKSUM: hashlib.sha256(to_bytes(tensors)).hexdigest()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote; empty where there is no file, or one that is not as it was written.

    Up to version 0.2 there were no checksums: such files are taken as they are.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load
    from safetensors.torch import save as to_bytes

    try:
        data = path.read_bytes()
        tensors = load(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (OSError, SafetensorError, ValueError):
        return {}
    checksum = head.get("__metadata__", {}).get(_CHECKSUM)
    return tensors if checksum in (None, hashlib.sha256(to_bytes(tensors)).hexdigest()) else {}
