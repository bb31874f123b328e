"""Features of the reference data and their neighbours, computed once and kept in the cache folder."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ragdist.distributed.world import World, shares
from ragdist.evaluation import feature_set as feature_sets
from ragdist.evaluation.feature_set import FeatureSet
from ragdist.evaluation.reference_data import DataSet
from ragdist.metrics.extractor import Extractor
from ragdist.metrics.neighbours import nearest_others
from ragdist.storage.files import sweep

KEPT = 50_000  # most features that are kept; the others only count in mean and covariance
NEIGHBOURS = 5
_VERSION = 1
_CPU = torch.device("cpu")


class ReferenceFeatures:
    """The features of one data set under one extractor.

    Args:
        data: the data set.
        extractor: the feature extractor.
        count: samples drawn from it; 0: all.
        cache: folder in which features are kept.
        device: where the extractor computes. On another kind of device features differ in their last bits, by which
            copies of reals would not be recognized.
        code: of others that the features are from, as `Table.code`.
    """

    def __init__(
        self, data: DataSet, extractor: Extractor, count: int, cache: Path, device: torch.device = _CPU, code: str = "",
    ):  # fmt: skip
        self.data, self.extractor = data, extractor
        self.numbers = data.drawn(count)
        self.folder = cache / "evaluation"
        self.about = {
            "version": _VERSION,
            "data": data.index.digest,
            "features": extractor.sha256,
            "resizing": extractor.resizing,
            "count": len(self.numbers),
            "kept": min(len(self.numbers), KEPT),
        }
        if device.type != "cpu":
            self.about["device"] = device.type
        if code:
            self.about["code"] = code
        self.cached = True  # whether nothing had to be computed

    def feature_set(
        self,
        batch: int,
        world: World,
        begin: Callable[[int], Callable[[int], None]] = lambda total: lambda n: None,
    ) -> FeatureSet | None:
        """Compute or load the features, on rank 0; None on the others. All ranks must call.

        Where they have to be computed each rank does its share of the batches, and rank 0 calls ``begin`` with the
        number of samples; what that returns counts the progress.

        Raises:
            UserError: shards cannot be had, or features are not finite; on all ranks.
        """
        path = self._path("features")
        found = feature_sets.load(path) if world.rank == 0 else None
        if world.gather(found is not None)[0]:
            return found
        self.cached = False
        advance = begin(len(self.numbers)) if world.rank == 0 else lambda n: None
        mine = shares(-(-len(self.numbers) // batch), world.size)[world.rank]
        gathered = feature_sets.Collector(self.extractor, KEPT, world.device)

        def embed() -> None:
            for part in self.data.batches(self.numbers, batch, mine):
                world.alive()
                gathered.add(part)
                advance(len(part.places) * world.size)

        world.run_on_all(embed)
        self.data.bad.update(*world.gather(sorted(self.data.bad)))
        found = gathered.gather(world, KEPT, logits=True)
        if found is not None:
            self._write(path, lambda: feature_sets.save(path, found))
        return found

    def spacing(self, features: FeatureSet, count: int) -> Tensor:
        """Distances of the first ``count`` reals to the nearest others of them: float64 [count, at most NEIGHBOURS]."""
        path = self._path(f"spacing {count}")
        with suppress(KeyError):
            return feature_sets.read_tensors(path)["distance"]
        self.cached = False
        k = min(NEIGHBOURS, count - 1)
        distance = nearest_others(features.features[:count], k).distance
        self._write(path, lambda: feature_sets.write_tensors(path, {"distance": distance}))
        return distance

    def remembered(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What depends on these reals alone, whatever their features: from the cache, else computed."""
        about = {key: self.about[key] for key in ("version", "data", "count")} | {"what": name}
        path = self._path_of(about)
        with suppress(KeyError):
            return feature_sets.read_tensors(path)["value"]
        self.cached = False
        value = compute()
        self._write(path, lambda: feature_sets.write_tensors(path, {"value": value}))
        return value

    def _path(self, what: str) -> Path:
        return self._path_of(self.about | {"what": what})

    def _path_of(self, about: dict) -> Path:
        text = json.dumps(about, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"

    def _write(self, path: Path, write: Callable[[], None]) -> None:
        if self.data.bad:  # once the data are mended, it would be wrong
            return
        with suppress(OSError):  # a cache that cannot be written only costs time
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent)
            write()
