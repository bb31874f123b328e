"""Paths among obstacles: which cross one, and which of the known routes each takes. NumPy alone.

Paths are [n, 2, steps], x and y; obstacles rectangles [x0, y0, x1, y1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NO_ROUTE = -1
_AT_A_TIME = 1 << 22  # pairs of a line and an obstacle
_TOUCH = 1e-6  # of an obstacle's side, and of a line's length, that may be inside


def crossing(paths: np.ndarray, obstacles: Sequence[Sequence[float]]) -> np.ndarray:
    """Which paths have a line between two of their points that goes through an obstacle, bool [n]."""
    if not len(obstacles):
        return np.zeros(len(paths), bool)
    step = max(_AT_A_TIME // (paths.shape[2] * len(obstacles)), 1)
    parts = [_crossing(paths[i : i + step].astype(np.float64), obstacles) for i in range(0, len(paths), step)]
    return np.concatenate([np.zeros(0, bool), *parts])


def _crossing(paths: np.ndarray, obstacles: Sequence[Sequence[float]]) -> np.ndarray:
    corners = np.asarray(obstacles, np.float64)
    inset = (corners[:, 2:] - corners[:, :2]) * _TOUCH
    corners = corners + np.concatenate([inset, -inset], 1)
    enter, leave = np.zeros(()), np.ones(())  # of each line's way from 0 to 1, where it is between both pairs of edges
    for axis in (0, 1):
        start = paths[:, axis, :-1, None]
        way = paths[:, axis, 1:, None] - start
        way = np.where(way == 0, 1e-12, way)
        low, high = (corners[:, axis] - start) / way, (corners[:, axis + 2] - start) / way
        enter = np.maximum(enter, np.minimum(low, high))
        leave = np.minimum(leave, np.maximum(low, high))
    return (leave - enter > _TOUCH).any((1, 2))


def lines(routes: Sequence[Sequence[Sequence[float]]], steps: int) -> np.ndarray:
    """Routes, given by their way points, as paths [routes, 2, steps] of equal speed."""
    found = np.empty((len(routes), 2, steps))
    for line, route in zip(found, routes, strict=True):
        points = np.asarray(route, np.float64)
        far = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        places = np.linspace(0, far[-1], steps)
        line[:] = [np.interp(places, far, points[:, axis]) for axis in (0, 1)]
    return found


def taken(
    paths: np.ndarray,
    routes: Sequence[Sequence[Sequence[float]]],
    tolerance: float,
    obstacles: Sequence[Sequence[float]] = (),
) -> np.ndarray:
    """The route that each path takes, int [n]: the nearest by the mean distance of their points.

    ``NO_ROUTE``: that is farther than ``tolerance``, or the path crosses an obstacle.
    """
    ways = lines(routes, paths.shape[2])
    found = np.empty(len(paths), np.int64)
    for i in range(0, len(paths), 256):
        part = paths[i : i + 256, None].astype(np.float64)
        distance = np.hypot(part[:, :, 0] - ways[:, 0], part[:, :, 1] - ways[:, 1]).mean(2)
        nearest = distance.argmin(1)
        found[i : i + 256] = np.where(distance.min(1) <= tolerance, nearest, NO_ROUTE)
    return np.where(crossing(paths, obstacles), NO_ROUTE, found)
