"""The interface of measures: what they are given, and the figures that they add."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ragdist.metrics import density_coverage, precision_recall
from ragdist.metrics.neighbours import Crossing, Nearest, crossing, nearest_others

KEPT_SAMPLES = 2048  # that measures of the samples themselves are given unless they say otherwise


@dataclass
class Figure:
    """A figure: name, value, error, ideal value."""

    name: str  # in evaluation.json
    title: str  # for people
    value: float
    error: float | None = None
    ideal: str = ""  # less, more, or what it should be
    of: str = ""  # features, and how many samples and reals
    code: str = ""  # which code of others measured it, as `Table.code`; empty: the project's


@dataclass
class Comparison:
    """A table of several figures of the samples, in its first row, and of what they are to be compared with."""

    title: str
    columns: dict[str, str]  # name in evaluation.json -> title for people
    rows: list[tuple[str, list[float]]]  # title, and a value a column; not finite: there is none


@dataclass
class Material:
    """The material of the measures, on the host."""

    features: str  # name and hash of the features
    fakes: Any  # `evaluation.feature_set.FeatureSet`
    reals: Any
    neighbours: int  # fakes, and reals, that measures of neighbours take; fakes of the kernel distance
    spacing: Callable[[int], Tensor]  # distances of the first so many reals to their nearest others: [n, 5]
    fake_samples: Tensor  # stored [n, *shape], the first fakes and reals
    real_samples: Tensor
    unit: str  # what a sample is, in words: "image"
    units: str
    form: Any = None  # of the samples, `modalities.base.Form`
    held_out: Any | None = None
    held_out_samples: Tensor | None = None  # stored [n, *shape]
    # A function of (name, how to compute it): what depends on the reals and the held-out data alone, computed once.
    remembered: Callable[[str, Callable[[], Tensor]], Tensor] = lambda name, compute: compute()
    class_names: tuple[str, ...] = ()
    class_features: str = ""  # those of the classifier that named the classes
    fake_classes: Tensor | None = None  # int64 [n], by the classifier
    asked_classes: Tensor | None = None  # int64 [n], those that a conditional generator was asked for
    real_counts: Tensor | None = None  # int64 [classes] of all of the data's labels


@dataclass
class Result:
    """Figures, and pictures for the report."""

    figures: list[Figure] = field(default_factory=list)
    headlines: list[str] = field(default_factory=list)  # what is to be read first
    tables: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by measure
    to_train: Nearest | None = None  # of the first fakes
    fake_counts: Tensor | None = None  # int64 [classes]

    def value(self, name: str) -> float | None:
        """A figure's value; None if it was not measured."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


class Neighbours:
    """The pass over all pairs of fakes and reals that several measures share, made when the first needs it."""

    def __init__(self, material: Material):
        self.material = material
        self.count = min(len(material.fakes.features), len(material.reals.features), material.neighbours)
        self._crossing: Crossing | None = None

    @property
    def fakes(self) -> Tensor:
        """Features of the fakes in the pass, [count, d]."""
        return self.material.fakes.features[: self.count]

    @property
    def reals(self) -> Tensor:
        """Features of the reals in the pass, [count, d]."""
        return self.material.reals.features[: self.count]

    @property
    def of(self) -> str:
        """The features and counts of the pass, for a figure."""
        return f"{self.material.features}, {self.count:,} + {self.count:,}"

    @property
    def spacing(self) -> Tensor:
        """Distances of the reals in the pass to the nearest others of them, float64 [count, k]."""
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


@dataclass(frozen=True)
class Measure:
    """A measure: a row of `metrics.MEASURES`.

    Args:
        take: adds figures to the result.
        needs: samples on each side, at least.
        of_neighbours: whether it takes the pass over all pairs, which --neighbours limits.
        of_samples: whether it needs stored samples and not their features alone.
        keeps: most stored samples that it needs, and as many of the held-out data.
        keeps_reals: most stored reals that it needs.
        features: the one kind of features that it suits; empty: any.
        best: its figures by which one generator is better than another, {name: "less" or "more"}; of the project's own
            measures they are `config.evaluation.BEST`.
    """

    take: Callable[[Material, Neighbours, Result], None]
    needs: int = 1
    of_neighbours: bool = False
    of_samples: bool = False
    keeps: int = KEPT_SAMPLES
    keeps_reals: int = KEPT_SAMPLES
    features: str = ""
    best: Mapping[str, str] = field(default_factory=dict)
