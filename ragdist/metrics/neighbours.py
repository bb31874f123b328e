"""Nearest neighbours among features, block by block; exact where rounding would decide.

Blocks of squared distances come from one matrix product in float32, |a|^2 + |b|^2 - 2 a.b, which loses
the small ones to cancellation: a copy of a training sample would not be at distance 0. So candidates are
picked from the blocks and their distances computed anew from the differences, in float64; and where a
block alone cannot say on which side of a radius a distance lies, that pair is computed anew, too. The
results are those of brute force in float64, ties included, in the memory of a few blocks.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS, COLUMNS = 1024, 4096  # of a block
_SPARE = 4  # more candidates than neighbours wanted: rounding may swap those that are about as near
# Rounding error of a squared distance, in units of |a|^2 + |b|^2: about 30 units in the last place of float32.
_ROUNDING = 4e-6
_PAIRS = 1 << 18  # undecided pairs of a block that are computed anew; among more of them (a heap of copies) it rounds
_CHUNK = 1 << 25  # numbers that are gathered at a time to do so


class Nearest(NamedTuple):
    """Neighbours of n vectors, the nearest first; among equals the lower number first."""

    distance: Tensor  # float64 [n, k]
    index: Tensor  # int64 [n, k]


class Crossing(NamedTuple):
    """Result of one pass over all pairs of fakes [n] and reals [m]."""

    to_real: Nearest  # of each fake, k = 1
    to_fake: Nearest  # of each real, k = 1
    real_balls: Tensor  # int64 [r, n]: how many reals' balls hold each fake, for each of the r radii
    fake_balls: Tensor  # int64 [s, m]: how many fakes' balls hold each real


def nearest_others(x: Tensor, k: int) -> Nearest:
    """The k nearest other vectors of each vector of x [n, d], Euclidean; n is above k.

    Equal vectors are others of each other, at distance 0.
    """
    assert len(x) > k
    near, squares = _prepared(x, x)
    best = _Best(len(x), k + _SPARE, x.device)
    for i in range(0, len(x), ROWS):
        for j in range(i, len(x), ROWS):  # the matrix is symmetric: half of the blocks will do
            block = _block(near[i : i + ROWS], squares[i : i + ROWS], near[j : j + ROWS], squares[j : j + ROWS])
            if i == j:
                block.fill_diagonal_(torch.inf)
            else:
                best.offer(j, block.T, i)
            best.offer(i, block, j)
    return _exact(x, x, best.index, k)


def nearest(a: Tensor, b: Tensor) -> Nearest:
    """The nearest of the vectors b [m, d] for each of a [n, d]; [n, 1]."""
    return crossing(a, b, (), ()).to_real


def crossing(fakes: Tensor, reals: Tensor, real_radii: tuple[Tensor, ...], fake_radii: tuple[Tensor, ...]) -> Crossing:
    """Nearest neighbours both ways, and which vectors lie in whose ball, from one pass over the pairs.

    Args:
        fakes, reals: features [n, d] and [m, d].
        real_radii: each [m], float64: radii of closed balls around the reals.
        fake_radii: each [n]: the same around the fakes.
    """
    a, a_squares = _prepared(fakes, reals)
    b, b_squares = _prepared(reals, reals)
    to_real, to_fake = _Best(len(a), 1 + _SPARE, a.device), _Best(len(b), 1 + _SPARE, a.device)
    real_balls = torch.zeros(len(real_radii), len(a), dtype=torch.int64, device=a.device)
    fake_balls = torch.zeros(len(fake_radii), len(b), dtype=torch.int64, device=a.device)
    for i in range(0, len(a), ROWS):
        rows = slice(i, min(i + ROWS, len(a)))
        for j in range(0, len(b), COLUMNS):
            columns = slice(j, min(j + COLUMNS, len(b)))
            block = _block(a[rows], a_squares[rows], b[columns], b_squares[columns])
            to_real.offer(i, block, j)
            to_fake.offer(j, block.T, i)
            pair = (fakes[rows], reals[columns], a_squares[rows], b_squares[columns])
            for count, radii in zip(real_balls, real_radii, strict=True):
                count[rows] += _inside(block, radii[columns], pair).sum(1)
            for count, radii in zip(fake_balls, fake_radii, strict=True):
                count[columns] += _inside(block, radii[rows].unsqueeze(1), pair).sum(0)
    to_real, to_fake = _exact(fakes, reals, to_real.index, 1), _exact(reals, fakes, to_fake.index, 1)
    return Crossing(to_real, to_fake, real_balls, fake_balls)


class _Best:
    """The smallest entries of each row of a matrix that is seen block by block."""

    def __init__(self, rows: int, k: int, device: torch.device):
        self.value = torch.full((rows, k), torch.inf, device=device)
        self.index = torch.full((rows, k), -1, dtype=torch.int64, device=device)

    def offer(self, row: int, block: Tensor, column: int) -> None:
        """Offer a block whose corner is at this row and column."""
        k = min(self.value.shape[1], block.shape[1])
        value, index = block.contiguous().topk(k, largest=False, sorted=False)
        rows = slice(row, row + len(block))
        index = torch.where(value.isinf(), -1, index + column)  # a vector is no neighbour of its own
        value = torch.cat([self.value[rows], value], 1)
        index = torch.cat([self.index[rows], index], 1)
        self.value[rows], chosen = value.topk(self.value.shape[1], largest=False)
        self.index[rows] = index.gather(1, chosen)


def _prepared(x: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
    """Center vectors at the mean of ``around``, in float32, and compute their squared lengths.

    What all vectors have in common would only add rounding errors to the blocks.
    """
    x = x.float() - around.mean(0, dtype=torch.float64).float()
    return x, x.square().sum(1, dtype=torch.float64).float()


def _block(a: Tensor, a_squares: Tensor, b: Tensor, b_squares: Tensor) -> Tensor:
    """Squared distances [len(a), len(b)], float32, rounded."""
    return torch.addmm(a_squares.unsqueeze(1) + b_squares, a, b.T, alpha=-2)


def _inside(block: Tensor, radii: Tensor, pair: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Which of a block's distances are at most the radii (which broadcast over it)."""
    a, b, a_squares, b_squares = pair
    exact = radii.square()
    squared = exact.float()
    inside = block <= squared
    slack = (a_squares.unsqueeze(1) + b_squares).mul_(_ROUNDING)
    rows, columns = ((block - squared).abs_() <= slack).nonzero(as_tuple=True)
    if len(rows) > _PAIRS:
        return inside | (block <= slack)
    if len(rows):
        limits = radii.expand(block.shape)[rows, columns]
        inside[rows, columns] = _distances(a, rows, b, columns) <= limits
    return inside


def _distances(a: Tensor, rows: Tensor, b: Tensor, columns: Tensor) -> Tensor:
    """Distances of the pairs (a[rows], b[columns]), from their differences: float64, the same for either order."""
    step = max(_CHUNK // a.shape[1], 1)
    return torch.cat(
        [
            (a[r].double() - b[c].double()).square_().sum(1).sqrt_()
            for r, c in zip(rows.split(step), columns.split(step), strict=True)
        ]
    )


def _exact(a: Tensor, b: Tensor, candidates: Tensor, k: int) -> Nearest:
    """The k nearest of each row's candidates in b (-1: none) by exact distances."""
    n, width = candidates.shape
    candidates = candidates.sort(1).values  # a stable sort by distance then keeps lower numbers first
    rows = torch.arange(n, device=a.device).repeat_interleave(width)
    distance = _distances(a, rows, b, candidates.clamp(min=0).flatten()).view(n, width)
    distance[candidates < 0] = torch.inf
    distance, chosen = distance.sort(dim=1, stable=True)
    return Nearest(distance[:, :k].contiguous(), candidates.gather(1, chosen)[:, :k].contiguous())
