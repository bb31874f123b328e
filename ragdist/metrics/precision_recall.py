"""Precision and recall of a distribution, by the k nearest neighbours (Kynkaanniemi et al. 2019)."""

from typing import NamedTuple

from torch import Tensor

from ragdist.metrics.neighbours import Crossing, crossing, nearest_others

K = 3  # of the paper


class PrecisionRecall(NamedTuple):
    """Precision and recall, in [0, 1]."""

    precision: float
    recall: float


def precision_recall(fakes: Tensor, reals: Tensor, k: int = K) -> PrecisionRecall:
    """Precision, the share of fakes that look real, and recall, the share of reals that fakes reach.

    A set's manifold is the union of balls around its members that reach to the k-th nearest other member.
    Precision is the share of fakes in the reals' manifold, recall that of the reals in the fakes'. One
    outlier has a large ball, which makes both generous.

    Args:
        fakes, reals: features [n, d] and [m, d], more than k of each; equal numbers, for recall falls
            and rises with the fakes' density.
    """
    radii = tuple((nearest_others(x, k).distance[:, -1],) for x in (reals, fakes))
    return from_crossing(crossing(fakes, reals, *radii))


def from_crossing(found: Crossing, real: int = 0, fake: int = 0) -> PrecisionRecall:
    """Precision and recall from a pass over all pairs with these radii."""
    precision = (found.real_balls[real] > 0).double().mean()
    recall = (found.fake_balls[fake] > 0).double().mean()
    return PrecisionRecall(float(precision), float(recall))
