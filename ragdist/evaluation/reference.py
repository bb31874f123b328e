"""The reference of evaluations: features and measures that suit the data, and what is computed once of the reals."""

import shlex
import time
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from torch import Tensor

from ragdist import modalities
from ragdist.config.evaluation import CHEAP, EvaluateOptions
from ragdist.distributed.world import World, full_precision
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.reference_features import ReferenceFeatures
from ragdist.metrics import FEATURES, MEASURES, classes
from ragdist.metrics.extractor import Extractor, Features, FeatureSource
from ragdist.metrics.measure import Measure
from ragdist.modalities.base import Judging
from ragdist.tools.errors import UserError, nearest
from ragdist.tools.progress import Progress

SAMPLE_BYTES = 512 << 20  # most that kept samples take
_OF_MEASURES, _OF_FEATURES = (attrgetter(*(part.name for part in fields(kind))) for kind in (Measure, Features))


class Reference:
    """Features of the reals, extractors, and the measures to take. Rank 0 has all, others what their samples need.

    Args:
        data: the reference data.
        options: the options of `ragdist.evaluate`.
        count: samples that will be evaluated.
        held_out: data of that kind that the generator has not seen; None: there are none.
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
        # What is installed on the nodes may differ: all do what rank 0 can, and each says so that cannot.
        self.kind, self.names = world.decide(lambda: suitable(options, data, count, option))
        world.run_on_all(lambda: self._look_up(option))
        self.keeps_samples = any(MEASURES[name].of_samples for name in self.names)
        _check_alike(data, held_out)
        self.labels_matter = "classes" in self.names
        self._make_features()
        self._gather_reals()
        world.run_on_all(self._measure_reals)

    def _look_up(self, option: str) -> None:
        """Import here what rank 0 has chosen. Raises UserError where it is not installed on this node."""
        codec, here = self.data.index.codec, f", on worker {self.world.rank}" if self.world.rank else ""
        self.making, self.judging = modalities.making(codec), modalities.judging(codec)
        for name in {self.kind, *([self.judging.classifier] if "classes" in self.names else [])}:
            FEATURES.check(name, f"{option}features {name}{here}")
            FEATURES.use(name, _features)
        for name in self.names:
            MEASURES.check(name, f"{option}metrics {name}{here}")
            MEASURES.use(name, _measure)

    def _make_features(self) -> None:
        """Make the extractors on rank 0 first, which may train a classifier or fetch weights, then on the others."""
        self.namer: Extractor | None = None
        if self.labels_matter or self.kind == self.judging.classifier:
            self.namer = self._extractor(self.judging.classifier)
        self.extractor = self.namer if self.kind == self.judging.classifier else self._extractor(self.kind)

    def _extractor(self, kind: str) -> Extractor:
        """Make an extractor on rank 0, and equal ones on the others; all must call."""
        world, features = self.world, FEATURES[kind]
        cache, weights = self.cache, self.options.inception_weights
        source = FeatureSource(self.data, cache, world.device, weights, self._begin)
        first = world.run_on_all(lambda: features.make(source) if world.rank == 0 else None)
        content = world.broadcast(first.content if first else None) if features.restore else None
        if content is None:
            return world.run_on_all(lambda: first or features.make(source))
        return first or features.restore(content, world.device)

    def _begin(self, total: int) -> Callable[[int], None]:
        self.say(f"training a classifier of {self.data.where} for its features, once")
        return progress(total, self.making.units)

    def _gather_reals(self) -> None:
        """Gather the reals' features on rank 0; each rank computes its share of what is not in the cache."""
        options, world, how = self.options, self.world, (self.cache, self.world.device, FEATURES.code(self.kind))
        self.reals = ReferenceFeatures(self.data, self.extractor, options.reals, *how)
        self.feature_set = self.reals.feature_set(
            options.batch, world, lambda total: progress(total, f"real {self.making.units}")
        )
        self.held = None
        if self.held_out and "memorization" in self.names:
            held = ReferenceFeatures(self.held_out, self.extractor, options.neighbours, *how)
            self.held = held.feature_set(
                options.batch, world, lambda total: progress(total, f"held-out {self.making.units}")
            )

    def _measure_reals(self) -> None:
        """Compute what else measures need of the reals, on rank 0."""
        if self.world.rank:
            return
        data = self.data
        self.neighbours = min(self.count, len(self.feature_set.features), self.options.neighbours)
        if any(MEASURES[name].of_neighbours for name in self.names):
            self.spacing = self.reals.spacing(self.feature_set, self.neighbours)
        self.samples, self.held_samples = data.reader.modality.blank(0, data.index.form), None
        if self.keeps_samples:
            self.samples = _first_samples(data, self.reals.numbers, self.most("keeps_reals"))
            if held := self.held_out:
                self.held_samples = _first_samples(held, held.drawn(self.options.neighbours), self.most("keeps"))
        self.real_counts = classes.class_counts(data.labels, len(data.index.classes)) if self.labels_matter else None

    def most(self, what: str) -> int:
        """Most stored samples that a measure needs: "keeps" or "keeps_reals"."""
        return max((getattr(MEASURES[name], what) for name in self.names if MEASURES[name].of_samples), default=0)

    def remembered(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What depends on the reals and the held-out data alone: from the cache, else computed; on rank 0."""
        held = self.held_out
        return self.reals.remembered(f"{name}, held out: {held.index.digest if held else 'none'}", compute)

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
            "quantization": self.judging.quantization,
            "flips": "none",
            "seed": self.options.seed,
            "reals_cached": self.reals.cached,
            **({"code": code} if (code := self._code()) else {}),
        }

    def _code(self) -> dict[str, str]:
        """The code of others that features are from, as `Table.code`: of "features", "classifier"."""
        found = {"features": FEATURES.code(self.kind)}
        if self.labels_matter:
            found["classifier"] = FEATURES.code(self.judging.classifier)
        return {what: code for what, code in found.items() if code}


def suitable(options: EvaluateOptions, data: DataSet, count: int, option: str = "--") -> tuple[str, list[str]]:
    """Choose features and measures, as `choose`, for so many samples; nothing is computed.

    Raises:
        UserError: as `choose`, the features cannot be imported, or there are too few samples or reals for a measure.
    """
    kind, names = choose(options, data, option)
    FEATURES.use(kind, _features)
    check_counts(names, count, min(options.reals or len(data), len(data)), options.neighbours, option)
    return kind, names


def choose(options: EvaluateOptions, data: DataSet, option: str = "--") -> tuple[str, list[str]]:
    """Choose the features, and the measures that suit them and the data.

    Raises:
        UserError: an unknown measure, or one that was asked for and does not suit.
    """
    judging, kind = modalities.judging(data.index.codec), options.features
    labelled, units = len(data.index.classes) >= 2, modalities.making(data.index.codec).units
    if (weights := options.inception_weights) and _of_others("inception", "features", judging):
        raise UserError(f"{option}inception_weights {weights}: {units} have no features inception; leave it out")
    if kind == "auto":
        kind = (labelled and judging.labelled_features) or judging.features[0]
        if options.inception_weights:
            kind = "inception"
    elif kind not in FEATURES or _of_others(kind, "features", judging):
        known = [name for name in FEATURES if not _of_others(name, "features", judging)]
        raise UserError(f"{option}features {kind}: {units} have no such features{nearest(kind, known)}")
    if options.metrics == "all":
        suit = [name for name in MEASURES.working(_measure) if _suits(name, kind, judging)]
        return kind, [name for name in suit if name != "classes" or kind == judging.classifier]
    if options.metrics == "cheap":
        suit = [name for name in CHEAP if name != "classes" or (kind and kind == judging.classifier)]
        return kind, [*suit, *getattr(judging, "cheap", ())]
    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    for name in names:
        if name not in MEASURES:
            raise UserError(f"{option}metrics {name}: there is no such measure; there are: {', '.join(MEASURES)}")
        if not _suits(name, kind, judging):
            needed = MEASURES[name].features
            what = f"{option}features {needed}, not {kind}" if needed else f"other samples than {data.where} holds"
            raise UserError(f"{option}metrics {name} needs {what}")
    if not names:
        raise UserError(f"{option}metrics names none; there are: {', '.join(MEASURES)}")
    return kind, [name for name in MEASURES if name in names]


def _measure(name: str) -> Measure:
    _OF_MEASURES(MEASURES[name])  # a row of others may be anything
    return MEASURES[name]


def _features(name: str) -> Features:
    _OF_FEATURES(FEATURES[name])
    return FEATURES[name]


def _suits(name: str, kind: str, judging: Judging) -> bool:
    """Whether a measure can be taken of such samples by such features."""
    measure = MEASURES.use(name, _measure)
    if name == "classes":
        return bool(judging.classifier)
    special = measure.of_samples or measure.features  # of one modality
    if special and _of_others(name, "measures", judging):
        return False
    return measure.features in ("", kind)


def _of_others(name: str, what: str, judging: Judging) -> bool:
    """Whether features, or a measure, are among those that other modalities name and this one does not."""
    if name in getattr(judging, what):
        return False
    own = map(modalities.judging, modalities.MODALITIES.own)  # first: others' may fail to import, of which it is told
    return any(name in getattr(other, what) for other in own) or any(
        name in getattr(other, what) for other in modalities.all_judging().values()
    )


def check_counts(names: list[str], samples: int, reals: int, neighbours: int, option: str = "--") -> None:
    """Check that there are enough samples and reals for each measure. Raises UserError."""
    for name in names:
        needed = MEASURES[name].needs
        counts = {"samples": samples, "reals": reals}
        if MEASURES[name].of_neighbours:
            counts[f"{option}neighbours"] = neighbours
        for what, count in counts.items():
            if count < needed:
                raise UserError(f"{count:,} {what} are too few for the measure {name}, which needs {needed:,}")


def _first_samples(data: DataSet, numbers, most: int) -> Tensor:
    most = min(most, SAMPLE_BYTES // data.reader.modality.blank(1, data.index.form).nbytes)
    samples, there = data.samples(numbers[:most])
    return samples[there]


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
    if not modalities.alike(data.index.codec, held_out.index.form, data.index.form):
        first, second = held_out.index, data.index
        if first.codec == second.codec and first.shape == second.shape:
            keys = " and ".join(modalities.differences(second.codec, first.form, second.form))
            how = getattr(modalities.making(second.codec), "make_alike", "")
            advice = f": make them with {how.format(shlex.quote(data.where))}" if how else ""
            raise UserError(f"--held_out {held_out.where} has other {keys} than the training data{advice}")
        raise UserError(
            f"--held_out {held_out.where} holds samples of shape {list(first.shape)}, and the training data "
            f"{list(second.shape)}"
        )
