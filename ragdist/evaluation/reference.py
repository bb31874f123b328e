"""The reference of evaluations: features and measures that suit the data, and what is computed once of the reals."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ragdist.config.evaluation import CHEAP, METRICS, EvaluateOptions
from ragdist.distributed.world import World, full_precision
from ragdist.evaluation.classifier import ClassifierFeatures, classifier
from ragdist.evaluation.measures import PICTURED
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.reference_features import ReferenceFeatures
from ragdist.metrics import classes
from ragdist.metrics.extractor import Extractor
from ragdist.modalities.image.features import Laplacian, Pixels
from ragdist.tools.errors import UserError
from ragdist.tools.progress import Progress

_NEIGHBOURLY = ("precision_recall", "density_coverage", "memorization")
IMAGE_BYTES = 512 << 20  # most that kept images take
IMAGELY = {"swd", "ms_ssim"}  # measures of the images themselves


class Reference:
    """What samples are compared with. Rank 0 has all of it, the others what their share of the samples needs.

    Args:
        data: what samples should be distributed as.
        options: as of the command.
        count: samples that will be evaluated.
        held_out: more data of that kind, which the generator has not seen.
        world: the workers, which must all build it, and the device of the features' networks.
        say: prints a line about what takes long, on rank 0.
        option: how an option is written, for messages.

    Raises:
        UserError: there are too few samples or reals for a measure, a measure does not suit the features, or these
            cannot be had; on all ranks.
    """

    @full_precision()
    def __init__(
        self,
        data: DataSet,
        options: EvaluateOptions,
        count: int,
        *,
        held_out: DataSet | None = None,
        world: World,
        say: Callable[[str], None],
        option: str = "--",
    ):
        self.data, self.options, self.count, self.held_out = data, options, count, held_out
        self.world, self.say = world, say
        self.cache = Path(options.cache).expanduser()
        self.kind, self.names = choose(options, data, option)
        reals = min(options.reals or len(data), len(data))
        check_counts(self.names, count, reals, options.neighbours, option)
        _check_alike(data, held_out)
        self.labels_matter = "classes" in self.names
        self._make_features()
        self._gather_reals()
        world.run_on_all(self._measure_reals)

    def _make_features(self) -> None:
        """Make the extractors on rank 0 first, which may train a classifier or fetch weights, then on the others."""
        world = self.world
        self.namer: ClassifierFeatures | None = None
        if self.kind == "classifier" or self.labels_matter:
            self.namer = world.run_on_all(lambda: self._classifier() if world.rank == 0 else None)
            content = world.broadcast(self.namer.content if self.namer else None)
            self.namer = self.namer or ClassifierFeatures(content, self.world.device)
        first = world.run_on_all(lambda: self._make_extractor() if world.rank == 0 else None)
        self.extractor: Extractor = world.run_on_all(lambda: first or self._make_extractor())

    def _make_extractor(self) -> Extractor:
        if self.kind == "classifier":
            return self.namer
        if self.kind == "inception":
            from ragdist.modalities.image.inception import Inception

            return Inception(self.options.inception_weights, self.world.device)
        return {"pixels": Pixels, "laplacian": Laplacian}[self.kind](self.data.index.shape)

    def _classifier(self) -> ClassifierFeatures:
        return classifier(self.data, self.cache / "evaluation", device=self.world.device, begin=self._begin)

    def _begin(self, total: int) -> Callable[[int], None]:
        self.say(f"training a classifier of {self.data.where} for its features, once")
        return progress(total, "images")

    def _gather_reals(self) -> None:
        """Gather the reals' features on rank 0; each rank computes its share of what is not in the cache."""
        options, world = self.options, self.world
        self.reals = ReferenceFeatures(self.data, self.extractor, options.reals, self.cache, world.device)
        self.feature_set = self.reals.feature_set(options.batch, world, lambda total: progress(total, "real images"))
        self.held = None
        if self.held_out and "memorization" in self.names:
            held = ReferenceFeatures(self.held_out, self.extractor, options.neighbours, self.cache, world.device)
            self.held = held.feature_set(options.batch, world, lambda total: progress(total, "held-out images"))

    def _measure_reals(self) -> None:
        """Compute what else measures need of the reals, on rank 0."""
        if self.world.rank:
            return
        data = self.data
        self.neighbours = min(self.count, len(self.feature_set.features), self.options.neighbours)
        if set(_NEIGHBOURLY) & set(self.names):
            self.spacing = self.reals.spacing(self.feature_set, self.neighbours)
        self.images = torch.empty(0, *data.index.shape, dtype=torch.uint8)
        if IMAGELY & set(self.names):
            self.images = _first_images(data, self.reals.numbers)
        self.real_counts = classes.class_counts(data.labels, len(data.index.classes)) if self.labels_matter else None

    def protocol(self) -> dict[str, Any]:
        """The protocol: everything that decides the figures but the samples; on rank 0."""
        data, held_out, extractor, namer = self.data, self.held_out, self.extractor, self.namer
        whole = min(self.options.reals or len(data), len(data)) == len(data)
        split = "all" if whole else f"{len(self.reals.numbers):,} drawn by the data's digest"
        return {
            "samples": self.count,
            "reals": self.feature_set.count,
            "of_reals": len(data),
            "neighbours": self.neighbours,
            "data": {"where": data.where, "digest": data.index.digest, "shape": list(data.index.shape), "split": split},
            "held_out": held_out
            and {"where": held_out.where, "digest": held_out.index.digest, "samples": len(held_out)},
            "features": {
                "name": extractor.name,
                "sha256": extractor.sha256,
                "dim": extractor.dim,
                "resizing": extractor.resizing,
                **extractor.about,
            },
            "classifier": (namer and self.labels_matter and {"sha256": namer.sha256, **namer.about}) or None,
            "quantization": "8 bits a channel",
            "flips": "none",
            "seed": self.options.seed,
            "reals_cached": self.reals.cached,
        }


def choose(options: EvaluateOptions, data: DataSet, option: str = "--") -> tuple[str, list[str]]:
    """Choose the features, and the measures that suit them and the data.

    Raises:
        UserError: an unknown measure, or one that was asked for and does not suit.
    """
    labelled = len(data.index.classes) >= 2
    kind = options.features
    if kind == "auto":
        kind = "inception" if options.inception_weights else "classifier" if labelled else "pixels"
    if options.metrics == "all":
        unsuitable = {"classes"} if kind != "classifier" else set()
        unsuitable |= {"inception_score"} if kind != "inception" else set()
        return kind, [name for name in METRICS if name not in unsuitable]
    if options.metrics == "cheap":
        return kind, [name for name in CHEAP if name != "classes" or kind == "classifier"]
    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            raise UserError(f"{option}metrics {name}: there is no such measure; there are: {', '.join(METRICS)}")
    if not names:
        raise UserError(f"{option}metrics names none; there are: {', '.join(METRICS)}")
    if "inception_score" in names and kind != "inception":
        raise UserError(f"{option}metrics inception_score needs {option}features inception, not {kind}")
    return kind, [name for name in METRICS if name in names]


def check_counts(names: list[str], samples: int, reals: int, neighbours: int, option: str = "--") -> None:
    """Check that there are enough samples and reals for each measure. Raises UserError."""
    for name in names:
        needed = METRICS[name][0]
        counts = {"samples": samples, "reals": reals}
        if name in _NEIGHBOURLY:
            counts[f"{option}neighbours"] = neighbours
        for what, count in counts.items():
            if count < needed:
                raise UserError(f"{count:,} {what} are too few for the measure {name}, which needs {needed:,}")


def _first_images(data: DataSet, numbers) -> Tensor:
    most = min(PICTURED, IMAGE_BYTES // math.prod(data.index.shape))
    images, there = data.images(numbers[:most])
    return images[there]


def progress(total: int, unit: str) -> Callable[[int], None]:
    """A progress line that quick work does not show; returns the function that counts what is done."""
    progress = Progress(total, unit=unit, first=False)

    def advance(count: int) -> None:
        progress.advance(count)
        if progress.done < total or time.perf_counter() - progress.began > 30:
            progress.describe()
        if progress.done >= total:
            progress.close()

    return advance


def _check_alike(data: DataSet, held_out: DataSet | None) -> None:
    if held_out is None:
        return
    if held_out.index.digest == data.index.digest:
        raise UserError(
            f"--held_out {held_out.where} is the training data itself: give data that it was not trained on"
        )
    if held_out.index.shape != data.index.shape:
        raise UserError(
            f"--held_out {held_out.where} holds samples of shape {list(held_out.index.shape)}, and the training data "
            f"{list(data.index.shape)}"
        )
