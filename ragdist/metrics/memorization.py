"""Memorization: distances between samples and training data."""

from typing import NamedTuple

from torch import Tensor

from ragdist.metrics.neighbours import Nearest


class Distances(NamedTuple):
    """Mean and median of distances, in the units of the features."""

    mean: float
    median: float


def distances(found: Nearest) -> Distances:
    """Mean and median distance to the nearest neighbour, in the units of the features."""
    nearest = found.distance[:, 0]
    return Distances(float(nearest.mean()), float(nearest.quantile(0.5)))


def copies(to_train: Nearest) -> float:
    """The share of fakes whose features equal those of a training sample."""
    return float((to_train.distance[:, 0] == 0).double().mean())


def memorization_ratio(to_train: Nearest, held_out_to_train: Nearest) -> float:
    """The median distance of fakes to the training data, over that of held-out reals.

    1: fakes are as far from the training data as new real data are. Below 1 they keep close to it, at 0 they are
    copies; above 1 they are far from all data. The idea is that of the data-copying test of Meehan et al. 2020,
    as one ratio.

    Args:
        to_train: the nearest training sample of each fake.
        held_out_to_train: of each real that the generator was not trained on.
    """
    ideal = distances(held_out_to_train).median
    return distances(to_train).median / ideal if ideal else float("nan")


def authenticity(to_train: Nearest, train_spacing: Tensor) -> float:
    """The share of fakes that lie farther from their nearest training sample than that one from its own nearest other.

    Of Alaa et al. 2022. About 1/2 for samples that are distributed as the data are, in every dense region;
    less where fakes are nearer to single training samples than these are to each other.

    Args:
        to_train: the nearest training sample of each fake.
        train_spacing: [m], the distance of each training sample to its nearest other one.
    """
    return float((to_train.distance[:, 0] > train_spacing[to_train.index[:, 0]]).double().mean())
