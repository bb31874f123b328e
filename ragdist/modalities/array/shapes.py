"""Figures of single trajectories [2 or 3, T]: how long their steps are, how they turn, how far they go. NumPy alone."""

from __future__ import annotations

import numpy as np


def steps(paths: np.ndarray) -> np.ndarray:
    """Length of each step, [n, T - 1]."""
    return np.sqrt(np.square(np.diff(paths.astype(np.float64), axis=2)).sum(1))


def turns(paths: np.ndarray) -> np.ndarray:
    """Angle between each step and the next, [n, T - 2], from 0 to pi; in the plane with its sign, left above 0."""
    ways = np.diff(paths.astype(np.float64), axis=2)
    before, after = ways[:, :, :-1], ways[:, :, 1:]
    along = (before * after).sum(1)
    if paths.shape[1] == 2:
        return np.arctan2(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0], along)
    across = np.sqrt(np.square(np.cross(before, after, axis=1)).sum(1))
    return np.arctan2(across, along)


def radii(paths: np.ndarray) -> np.ndarray:
    """Radius of gyration: the root mean square distance of a path's points from their centre, [n]."""
    paths = paths.astype(np.float64)
    return np.sqrt(np.square(paths - paths.mean(2, keepdims=True)).sum(1).mean(1))


def js_divergence(a: np.ndarray, b: np.ndarray) -> float:
    """Jensen-Shannon divergence of two counts, in bits: 0 where shares are equal, 1 where nothing is common."""
    if not a.sum() or not b.sum():
        return 1.0
    p, q = (counts.astype(np.float64) / counts.sum() for counts in (a, b))
    middle = (p + q) / 2
    parts = [np.where(x > 0, x * np.log2(np.where(x > 0, x, 1) / np.where(middle > 0, middle, 1)), 0) for x in (p, q)]
    return float(sum(part.sum() for part in parts) / 2)


def histogram_divergence(values: np.ndarray, others: np.ndarray, reals: np.ndarray) -> float:
    """`js_divergence` of two sets of numbers [n] or points [n, d], in bins that the ``reals`` decide.

    Numbers have 50 bins from the least of the reals to their largest and one on each side, points 20 of each
    coordinate.
    """
    bins = 50 if values.ndim == 1 else 20
    low, high = reals.min(0), reals.max(0)
    wide = np.where(high > low, high - low, 1.0)

    def places(x: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            share = np.nan_to_num((x - low) / wide, nan=2.0, posinf=2.0, neginf=-1.0)
        found = np.clip(np.floor(share * bins), -1, bins).astype(np.int64) + 1
        found = np.where((share == 1), bins, found)  # the largest of the reals is in the last bin
        if x.ndim == 1:
            return found
        return found @ (bins + 2) ** np.arange(x.shape[1])

    total = (bins + 2) ** (values.shape[1] if values.ndim == 2 else 1)
    return js_divergence(*(np.bincount(places(x), minlength=total) for x in (values, others)))
