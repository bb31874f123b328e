"""The Frechet distance between Gaussians fitted to features (Heusel et al. 2017; FID where they are Inception's)."""

import torch
from torch import Tensor

from ragdist.metrics.moments import Moments


def frechet_distance(fakes: Moments, reals: Moments) -> float:
    """|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1^1/2 S2 S1^1/2)^1/2), with means m and covariances S of features.

    The square root is taken of a symmetric matrix by its eigenvalues, in float64: S1 S2 itself is not
    symmetric, and its numerical square root may be complex. In the units of the features, squared; 0 is best.
    Biased upward for few samples, and more so for many dimensions: compare equal numbers of samples only.

    Args:
        fakes, reals: moments of at least two vectors of one length d each.
    """
    a, b = reals.covariance(), fakes.covariance()
    root = _root(a)
    cross = _eigenvalues(root @ b @ root).sqrt().sum()
    shift = (fakes.mean() - reals.mean()).square().sum()
    return max(float(shift + a.trace() + b.trace() - 2 * cross), 0.0)


def is_rank_deficient(moments: Moments) -> bool:
    """Whether there are too few vectors for a covariance of full rank: the distance is then biased by a lot."""
    return bool(moments.count <= len(moments.total))


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * _settled(values).sqrt()) @ vectors.T


def _eigenvalues(matrix: Tensor) -> Tensor:
    return _settled(torch.linalg.eigvalsh((matrix + matrix.T) / 2))


def _settled(values: Tensor) -> Tensor:
    """Set eigenvalues to zero that are zero but for rounding: their square roots would add up."""
    noise = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > noise, values, 0.0)
