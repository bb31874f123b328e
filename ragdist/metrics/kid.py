"""The kernel distance: squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018, KID)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SIZE = 1000  # most samples of a subset, and reals
_SUBSETS = 10  # at least, where there are few samples


class Kid(NamedTuple):
    """The kernel distance, and the subsets that it was computed of."""

    value: float
    error: float  # standard error of the value
    subsets: int
    fakes: int  # of a subset
    reals: int


def mmd2(fakes: Tensor, reals: Tensor) -> float:
    """Unbiased squared MMD under the kernel k(a, b) = (a.b / d + 1)^3; may be slightly negative.

    Args:
        fakes, reals: features [n, d] and [m, d], at least two each; computed in float64.
    """
    a, b = fakes.double(), reals.double()
    return float(_off_diagonal(a) + _off_diagonal(b) - 2 * _kernel(a, b).mean())


def kernel_distance(fakes: Tensor, reals: Tensor, subsets: int | None = None) -> Kid:
    """The mean of `mmd2` over disjoint subsets, and its standard error.

    The estimate is unbiased at any size of the subsets, so the value means the same for any number of
    samples. Subsets are disjoint, hence independent, so that the error is an honest one; overlapping
    random subsets, which the field also uses, understate it.

    Args:
        fakes, reals: features [n, d] and [m, d], in an order that has nothing to do with their content.
        subsets: how many; by default as many as make at most 1,000 of a side, and at least 10 where samples suffice.

    Raises:
        ValueError: fewer than 4 samples on a side.
    """
    least, most = sorted((len(fakes), len(reals)))
    if least < 4:
        raise ValueError(f"the kernel distance needs at least 4 samples on each side, not {least}")
    subsets = subsets or min(max(_SUBSETS, -(-most // SIZE)), least // 2)
    n, m = len(fakes) // subsets, len(reals) // subsets
    found = torch.tensor(
        [mmd2(fakes[i * n : (i + 1) * n], reals[i * m : (i + 1) * m]) for i in range(subsets)], dtype=torch.float64
    )
    error = float(found.std() / math.sqrt(subsets)) if subsets > 1 else math.nan
    return Kid(float(found.mean()), error, subsets, n, m)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _off_diagonal(a: Tensor) -> Tensor:
    """The kernel's mean over pairs of different samples."""
    kernel = _kernel(a, a)
    return (kernel.sum() - kernel.trace()) / (len(a) * (len(a) - 1))
