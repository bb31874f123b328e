"""Density and coverage (Naeem et al. 2020): precision and recall without balls around the fakes."""

from typing import NamedTuple

from torch import Tensor

from ragdist.metrics.neighbours import Crossing, crossing, nearest_others

K = 5  # of the paper


class DensityCoverage(NamedTuple):
    """Density, from 0 up, and coverage, in [0, 1]."""

    density: float
    coverage: float


def density_coverage(fakes: Tensor, reals: Tensor, k: int = K) -> DensityCoverage:
    """How densely fakes lie where reals do (about 1 for equal distributions; no upper bound), and the share of
    the reals with a fake in their ball (1 - 2^-k for equal distributions and numbers, 0.97 at 5).

    A real's ball reaches to its k-th nearest other real. An outlier among the fakes has no ball and changes
    nothing; one among the reals adds a little to the density.

    Args:
        fakes, reals: features [n, d] and [m, d], more than k reals; equal numbers, for coverage rises with
            the number of fakes.
    """
    radii = nearest_others(reals, k).distance[:, -1]
    return from_crossing(crossing(fakes, reals, (radii,), ()), radii, k)


def from_crossing(found: Crossing, radii: Tensor, k: int = K, real: int = 0) -> DensityCoverage:
    """Density and coverage from a pass over all pairs, with the reals' radii number ``real``."""
    density = found.real_balls[real].double().mean() / k
    coverage = (found.to_fake.distance[:, 0] <= radii).double().mean()
    return DensityCoverage(float(density), float(coverage))
