"""Classes of samples, by a classifier: modes covered, and the divergence from the data's shares."""

import torch
from torch import Tensor

_FAIR = 0.1  # of a class's share in the data


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """Count the labels [n] of each class: int64 [classes]; those below 0 (none) are left out."""
    return torch.bincount(labels[labels >= 0], minlength=classes)


def modes_covered(fakes: Tensor, least: int = 1) -> int:
    """Classes with at least so many samples, of counts [classes] (the Stacked MNIST protocol of Metz et al. 2017).

    A classifier errs: among many samples a class that G never draws has some. See `fair_modes`.
    """
    return int((fakes >= least).sum())


def fair_modes(fakes: Tensor, reals: Tensor) -> int:
    """Classes whose share of the samples is at least a tenth of their share in the data; counts [classes] both."""
    share, wanted = fakes / fakes.sum(), reals / reals.sum()
    return int(((share >= _FAIR * wanted) & (reals > 0)).sum())


def kl_to_data(fakes: Tensor, reals: Tensor) -> float:
    """Kullback-Leibler divergence KL(samples' classes || data's classes) in nats, of counts [classes] both.

    0 is best. With K classes and n samples of the data's own shares it is about (K - 1) / 2n. Classes that
    the data do not have are left out.
    """
    present = reals > 0
    p = fakes[present].double() / fakes[present].sum()
    q = reals[present].double() / reals[present].sum()
    return float(torch.where(p > 0, p * (p / q).log(), 0.0).sum())
