"""Measures that suit any features: figures with their names, errors, and ideal values."""

import time
from collections.abc import Iterator

from ragdist.config.evaluation import METRICS
from ragdist.metrics import MEASURES, classes, density_coverage, kid, memorization, precision_recall
from ragdist.metrics.frechet import frechet_distance, is_rank_deficient
from ragdist.metrics.measure import Figure, Material, Measure, Neighbours, Result
from ragdist.metrics.neighbours import nearest


def measured(material: Material, names: list[str], result: Result, *, asked: bool = False) -> Iterator[None]:
    """Add the named measures (of `metrics.MEASURES`) to the result, one with each step of the iterator.

    ``asked``: for each by its name, so that one without a figure needs a note.
    """
    found = Neighbours(material)
    for name in names:
        start, before = time.perf_counter(), len(result.figures)
        MEASURES[name].take(material, found, result)
        for figure in result.figures[before:]:
            figure.code = MEASURES.code(name)
        if asked and len(result.figures) == before:
            result.notes.append(f"--metrics {name}: there is nothing of it in these data")
        result.seconds[name] = round(time.perf_counter() - start, 3)
        yield


def _frechet(material: Material, found: Neighbours, result: Result) -> None:
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


def _kid(material: Material, found: Neighbours, result: Result) -> None:
    value = kid.kernel_distance(material.fakes.features[: material.neighbours], material.reals.features)
    of = f"{material.features}, {value.subsets} x ({value.fakes:,} + {value.reals:,})"
    title = "KID" if material.features.startswith("inception") else "kernel distance"
    result.figures.append(Figure("kid", title, value.value, value.error, "less", of))


def _precision_recall(material: Material, found: Neighbours, result: Result) -> None:
    value = precision_recall.from_crossing(found.crossing)
    result.figures += [
        Figure("precision", "precision", value.precision, None, "more", found.of),
        Figure("recall", "recall", value.recall, None, "more", found.of),
    ]


def _density_coverage(material: Material, found: Neighbours, result: Result) -> None:
    radii = found.spacing[:, density_coverage.K - 1]
    value = density_coverage.from_crossing(found.crossing, radii, real=1)
    ideal = f"{1 - 2**-density_coverage.K:.2f}"
    result.figures += [
        Figure("density", "density", value.density, None, "1", found.of),
        Figure("coverage", "coverage", value.coverage, None, ideal, found.of),
    ]


def _memorization(material: Material, found: Neighbours, result: Result) -> None:
    reals, spacing, unit, units = material.reals.features, found.spacing[:, 0], material.unit, material.units
    to_train = found.crossing.to_real
    within = memorization.authenticity(to_train, spacing)
    if len(reals) > found.count:  # the pass saw the first of them
        to_train = nearest(found.fakes, reals)
    result.to_train = to_train
    of = f"{material.features}, {found.count:,} + {len(reals):,}"
    fake, real = memorization.distances(to_train), memorization.distances(found.crossing.to_fake)
    spaced = float(spacing.quantile(0.5))
    result.figures += [
        Figure("fake_to_train_mean", f"sample to nearest training {unit}, mean", fake.mean, None, "", of),
        Figure("fake_to_train_median", f"sample to nearest training {unit}, median", fake.median, None, "", of),
        Figure("train_to_fake_mean", f"training {unit} to nearest sample, mean", real.mean, None, "less", found.of),
        Figure(
            "train_to_fake_median", f"training {unit} to nearest sample, median", real.median, None, "less", found.of
        ),
        Figure("train_spacing_median", f"training {unit} to nearest other one, median", spaced, None, "", found.of),
        Figure("copies", f"samples that are training {units}", memorization.copies(to_train), None, "0", of),
        Figure("authenticity", "authenticity", within, None, "more", found.of),
    ]
    if material.held_out is not None:
        _held_out(material, found, result)
        return
    result.notes.append(
        f"no held-out data were given (--held_out): whether distances to the training {units} are natural can only "
        "be judged by how far these are from each other"
    )


def _held_out(material: Material, found: Neighbours, result: Result) -> None:
    """Compare the fakes' distances to the training data with those of held-out reals."""
    assert material.held_out is not None
    assert result.to_train is not None
    reals, unit, units = material.reals.features, material.unit, material.units
    held = material.held_out.features[: found.count]
    held_to_train = nearest(held, reals)
    of = f"{material.features}, {found.count:,}, {len(held):,} held out, {len(reals):,}"
    natural = memorization.distances(held_to_train)
    title = f"held-out {unit} to nearest training {unit}, median"
    ratio = memorization.memorization_ratio(result.to_train, held_to_train)
    result.figures += [
        Figure("held_out_to_train_median", title, natural.median, None, "", of),
        Figure("memorization_ratio", "memorization ratio", ratio, None, "1", of),
    ]
    if shared := memorization.copies(held_to_train):
        result.notes.append(f"{shared:.1%} of the held-out {units} are training {units}, too: the ratio is too large")


def _classes(material: Material, found: Neighbours, result: Result) -> None:
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


FRECHET = Measure(_frechet, METRICS["frechet"][0])
KID = Measure(_kid, METRICS["kid"][0])
PRECISION_RECALL = Measure(_precision_recall, METRICS["precision_recall"][0], of_neighbours=True)
DENSITY_COVERAGE = Measure(_density_coverage, METRICS["density_coverage"][0], of_neighbours=True)
MEMORIZATION = Measure(_memorization, METRICS["memorization"][0], of_neighbours=True)
CLASSES = Measure(_classes, METRICS["classes"][0])
