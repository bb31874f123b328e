"""All measures of fakes against reals: figures with their names, errors, and ideal values."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from ragdist.evaluation.feature_set import FeatureSet
from ragdist.metrics import classes, density_coverage, inception_score, kid, memorization, precision_recall
from ragdist.metrics.frechet import frechet_distance, is_rank_deficient
from ragdist.metrics.neighbours import Crossing, Nearest, crossing, nearest, nearest_others
from ragdist.modalities.image import ms_ssim
from ragdist.modalities.image.swd import pyramid_distances

SWD_IMAGES = 1024  # of fakes, and of reals
PICTURED = 2 * SWD_IMAGES  # images that are kept as such


@dataclass
class Figure:
    """A figure: name, value, error, ideal value."""

    name: str  # in evaluation.json
    title: str  # for people
    value: float
    error: float | None = None
    ideal: str = ""  # less, more, or what it should be
    of: str = ""  # features, and how many samples and reals


@dataclass
class Material:
    """The material of the measures, on the host."""

    features: str  # name and hash of the features
    fakes: FeatureSet
    reals: FeatureSet
    neighbours: int  # fakes, and reals, that measures of neighbours take; fakes of the kernel distance
    spacing: Callable[[int], Tensor]  # distances of the first so many reals to their nearest others: [n, 5]
    fake_images: Tensor  # uint8 [n, C, H, W], the first fakes and reals
    real_images: Tensor
    held_out: FeatureSet | None = None
    class_names: tuple[str, ...] = ()
    class_features: str = ""  # those of the classifier that named the classes
    fake_classes: Tensor | None = None  # int64 [n], by the classifier
    asked_classes: Tensor | None = None  # int64 [n], those that a conditional generator was asked for
    real_counts: Tensor | None = None  # int64 [classes] of all of the data's labels


@dataclass
class Result:
    """Figures, and pictures for the report."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by measure
    to_train: Nearest | None = None  # of the first fakes
    fake_counts: Tensor | None = None  # int64 [classes]

    def value(self, name: str) -> float | None:
        """A figure's value; None if it was not measured."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


def measured(material: Material, names: list[str], result: Result) -> Iterator[None]:
    """Add the named measures (of `config.evaluation.METRICS`) to the result, one with each step of the iterator."""
    found = _Neighbours(material)
    for name in names:
        start = time.perf_counter()
        _MEASURES[name](material, found, result)
        result.seconds[name] = round(time.perf_counter() - start, 3)
        yield


class _Neighbours:
    """The pass over all pairs of fakes and reals that several measures share, made when the first needs it."""

    def __init__(self, material: Material):
        self.material = material
        self.count = min(len(material.fakes.features), len(material.reals.features), material.neighbours)
        self._crossing: Crossing | None = None

    @property
    def fakes(self) -> Tensor:
        return self.material.fakes.features[: self.count]

    @property
    def reals(self) -> Tensor:
        return self.material.reals.features[: self.count]

    @property
    def of(self) -> str:
        return f"{self.material.features}, {self.count:,} + {self.count:,}"

    @property
    def spacing(self) -> Tensor:
        return self.material.spacing(self.count)

    @property
    def crossing(self) -> Crossing:
        """Make the pass, with the radii of `precision_recall` and, second among the reals', of `density_coverage`."""
        if self._crossing is None:
            spacing = self.spacing
            k = [min(k, spacing.shape[1]) - 1 for k in (precision_recall.K, density_coverage.K)]
            fake_radii = nearest_others(self.fakes, k[0] + 1).distance[:, -1]
            self._crossing = crossing(self.fakes, self.reals, (spacing[:, k[0]], spacing[:, k[1]]), (fake_radii,))
        return self._crossing


def _frechet(material: Material, found: _Neighbours, result: Result) -> None:
    fakes, reals = material.fakes, material.reals
    value = frechet_distance(fakes.moments, reals.moments)
    title = "FID" if material.features.startswith("inception") else "Frechet distance"
    of = f"{material.features}, {fakes.count:,} + {reals.count:,}"
    result.figures.append(Figure("frechet_distance", title, value, None, "less", of))
    for what, side in (("samples", fakes), ("reals", reals)):
        if is_rank_deficient(side.moments):
            dim = side.features.shape[1]
            result.notes.append(
                f"{side.count:,} {what} for {dim:,} features: their covariance has no full rank, and the Frechet "
                "distance is too large by an unknown amount; compare it with figures of the same counts only"
            )


def _kid(material: Material, found: _Neighbours, result: Result) -> None:
    value = kid.kernel_distance(material.fakes.features[: material.neighbours], material.reals.features)
    of = f"{material.features}, {value.subsets} x ({value.fakes:,} + {value.reals:,})"
    title = "KID" if material.features.startswith("inception") else "kernel distance"
    result.figures.append(Figure("kid", title, value.value, value.error, "less", of))


def _precision_recall(material: Material, found: _Neighbours, result: Result) -> None:
    value = precision_recall.from_crossing(found.crossing)
    result.figures += [
        Figure("precision", "precision", value.precision, None, "more", found.of),
        Figure("recall", "recall", value.recall, None, "more", found.of),
    ]


def _density_coverage(material: Material, found: _Neighbours, result: Result) -> None:
    radii = found.spacing[:, density_coverage.K - 1]
    value = density_coverage.from_crossing(found.crossing, radii, real=1)
    ideal = f"{1 - 2**-density_coverage.K:.2f}"
    result.figures += [
        Figure("density", "density", value.density, None, "1", found.of),
        Figure("coverage", "coverage", value.coverage, None, ideal, found.of),
    ]


def _memorization(material: Material, found: _Neighbours, result: Result) -> None:
    reals, spacing = material.reals.features, found.spacing[:, 0]
    to_train = found.crossing.to_real
    within = memorization.authenticity(to_train, spacing)
    if len(reals) > found.count:  # the pass saw the first of them
        to_train = nearest(found.fakes, reals)
    result.to_train = to_train
    of = f"{material.features}, {found.count:,} + {len(reals):,}"
    fake, real = memorization.distances(to_train), memorization.distances(found.crossing.to_fake)
    spaced = float(spacing.quantile(0.5))
    result.figures += [
        Figure("fake_to_train_mean", "sample to nearest training image, mean", fake.mean, None, "", of),
        Figure("fake_to_train_median", "sample to nearest training image, median", fake.median, None, "", of),
        Figure("train_to_fake_mean", "training image to nearest sample, mean", real.mean, None, "less", found.of),
        Figure("train_to_fake_median", "training image to nearest sample, median", real.median, None, "less", found.of),
        Figure("train_spacing_median", "training image to nearest other one, median", spaced, None, "", found.of),
        Figure("copies", "samples that are training images", memorization.copies(to_train), None, "0", of),
        Figure("authenticity", "authenticity", within, None, "more", found.of),
    ]
    if material.held_out is None:
        result.notes.append(
            "no held-out data were given (--held_out): whether distances to the training images are natural can only "
            "be judged by how far these are from each other"
        )
        return
    held = material.held_out.features[: found.count]
    held_to_train = nearest(held, reals)
    of = f"{material.features}, {found.count:,}, {len(held):,} held out, {len(reals):,}"
    natural = memorization.distances(held_to_train)
    ratio = memorization.memorization_ratio(to_train, held_to_train)
    result.figures += [
        Figure(
            "held_out_to_train_median", "held-out image to nearest training image, median", natural.median, None, "", of
        ),
        Figure("memorization_ratio", "memorization ratio", ratio, None, "1", of),
    ]
    if shared := memorization.copies(held_to_train):
        result.notes.append(f"{shared:.1%} of the held-out images are training images, too: the ratio is too large")


def _swd(material: Material, found: _Neighbours, result: Result) -> None:
    # Half of the reals stand in for perfect samples: what the distance is between equal distributions.
    count = min(SWD_IMAGES, len(material.fake_images), len(material.real_images) // 2)
    reals, others = material.real_images[:count], material.real_images[count : 2 * count]
    values, natural = pyramid_distances(material.fake_images[:count], reals), pyramid_distances(others, reals)
    for side, value in values.items():
        of = f"pixels at {side}, {count:,} + {count:,}"
        ideal = f"{natural[side]:.3g}"
        result.figures.append(Figure(f"swd_{side}", f"sliced Wasserstein distance at {side}", value, None, ideal, of))


def _ms_ssim(material: Material, found: _Neighbours, result: Result) -> None:
    fakes, reals = ms_ssim.diversity(material.fake_images), ms_ssim.diversity(material.real_images)
    of = f"pixels, {fakes.pairs:,} pairs, {fakes.scales} of {len(ms_ssim.WEIGHTS)} scales"
    figure = Figure("ms_ssim", "MS-SSIM of pairs", fakes.value, fakes.error, f"{reals.value:.3g}", of)
    result.figures.append(figure)
    result.figures.append(Figure("ms_ssim_data", "MS-SSIM of pairs of the data", reals.value, reals.error, "", of))


def _classes(material: Material, found: _Neighbours, result: Result) -> None:
    assert material.fake_classes is not None
    assert material.real_counts is not None
    names = material.class_names
    fakes, reals = classes.class_counts(material.fake_classes, len(names)), material.real_counts
    result.fake_counts = fakes
    of = f"{material.class_features}, {int(fakes.sum()):,} samples"
    every, natural = f"{len(names)}", f"{(len(names) - 1) / (2 * int(fakes.sum())):.2g}"
    result.figures += [
        Figure("modes", "classes with a sample", classes.modes_covered(fakes), None, every, of),
        Figure("fair_modes", "classes with a tenth of their share", classes.fair_modes(fakes, reals), None, every, of),
        Figure("class_kl", "KL(classes || data's classes)", classes.kl_to_data(fakes, reals), None, natural, of),
    ]  # fmt: skip
    if material.asked_classes is not None:
        right = (material.asked_classes == material.fake_classes).double().mean()
        result.figures.append(
            Figure("label_accuracy", "samples of the class asked for", float(right), None, "more", of)
        )


def _inception_score(material: Material, found: _Neighbours, result: Result) -> None:
    assert material.fakes.logits is not None
    score = inception_score.inception_score(material.fakes.logits)
    of = f"{material.features}, {len(material.fakes.logits):,} in {inception_score.SPLITS} splits"
    result.figures.append(Figure("inception_score", "Inception score", score.value, score.deviation, "more", of))


_MEASURES = {
    "frechet": _frechet,
    "kid": _kid,
    "precision_recall": _precision_recall,
    "density_coverage": _density_coverage,
    "memorization": _memorization,
    "swd": _swd,
    "ms_ssim": _ms_ssim,
    "classes": _classes,
    "inception_score": _inception_score,
}
