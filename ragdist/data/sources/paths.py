"""Walks through a small grid world with obstacles, from a corner to the opposite one, made on the spot.

All shortest ways are walked, some twenty times as often as others: diverse paths, of which it can be said which of
them a generator finds. Where the obstacles are, and the ways, the index's ``spec`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.source import Numbered, Source
from ragdist.modalities.array import paths
from ragdist.modalities.array.making import Described

# Walks begin at the lower left and end at the upper right; a cell is 1 wide, and # is an obstacle.
WORLD = """\
. . . . . . . . . . .
. # . # # # . # . # .
. . . . . . . . . . .
. # . # . # . # # # .
. . . . . . . # . . .
. # # # . # . # . # .
. . . . . . . . . . .
. # . # . # # # . # .
. . . . . . . . . . .
"""
STEPS = 64
_HALF = 0.3  # of an obstacle cell's side, around its middle: there is room to walk by
_MOST, _TIMES = 20, 12  # how often the most frequent way is walked by the rarest, and that one
_ROUND = 5  # steps over which corners are rounded
_SWAY, _PACE = 0.06, 0.01  # deviation of each of three waves beside the way, in cells, and of the pace
TOLERANCE = 0.4  # mean distance of a walk from its way, in cells: none is farther

Cell = tuple[int, int]


class PathReader:
    """Reads walks by their number in a .npy file."""

    def __init__(self, file: Path, about: dict[str, Any]):
        self.file, self.about, self._rows = file, about, None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.about)

    def __call__(self, place: int) -> Described:
        if self._rows is None:
            self._rows = np.load(self.file)
        return Described(self._rows[place], self.about)


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The source of all walks, float32 [2, STEPS], without labels."""
    walks = made(about(), 0)
    np.save(scratch / "paths.npy", walks)
    names = Numbered(len(walks), "walk")
    return Source(names, range(len(walks)), PathReader(scratch / "paths.npy", about()), "array", "paths 1")


def about() -> dict[str, Any]:
    """What is known of all walks; see `modalities.array.making.spec`."""
    return {"obstacles": obstacles(), "routes": routes(), "tolerance": TOLERANCE}


def made(about: dict[str, Any], seed: int) -> np.ndarray:
    """All walks, float32 [n, 2, STEPS]: of each seed others, of the same ways."""
    random = np.random.default_rng(seed)
    count = len(about["routes"])
    often = _TIMES * _MOST ** np.linspace(0, 1, count)
    which = np.repeat(np.random.default_rng(0).permutation(count), np.round(often).astype(int))
    ways = paths.lines(about["routes"], 4 * STEPS)
    walks, left = np.empty((len(which), 2, STEPS), np.float32), np.arange(len(which))
    while len(left):  # those that met an obstacle are walked again
        walks[left] = _walked(ways[which[left]], random)
        right = paths.taken(walks[left], about["routes"], TOLERANCE, about["obstacles"]) == which[left]
        left = left[~right]
    return walks


def _walked(ways: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Walk ways [n, 2, many points]: corners rounded, at a changing pace, swaying."""
    time = np.linspace(0, 1, STEPS)
    waves = np.sin(np.pi * np.arange(1, 4)[:, None] * time)
    pace = time + _PACE * random.normal(size=(len(ways), 3)) @ waves
    places = np.clip(pace, 0, 1) * (ways.shape[2] - 1)
    whole = np.minimum(places.astype(int), ways.shape[2] - 2)
    part = (places - whole)[:, None]
    start, stop = (np.take_along_axis(ways, (whole + i)[:, None], 2) for i in (0, 1))
    walks = start + (stop - start) * part
    half = _ROUND // 2
    padded = np.pad(walks, ((0, 0), (0, 0), (half, half)), mode="edge")
    walks = sum(padded[:, :, i : i + STEPS] for i in range(_ROUND)) / _ROUND
    return walks + _SWAY * random.normal(size=(len(ways), 2, 3)) @ waves


def _free() -> set[Cell]:
    rows = [row.split() for row in WORLD.splitlines()][::-1]
    return {(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell == "."}


def obstacles() -> list[list[float]]:
    """Rectangles [x0, y0, x1, y1]: runs of obstacle cells in each row, and in each column, around whole coordinates."""
    rows = [row.split() for row in WORLD.splitlines()][::-1]
    along = [[a - _HALF, y - _HALF, b + _HALF, y + _HALF] for y, row in enumerate(rows) for a, b in _runs(row)]
    columns = enumerate(zip(*rows, strict=True))
    up = [[x - _HALF, a - _HALF, x + _HALF, b + _HALF] for x, row in columns for a, b in _runs(row) if b > a]
    return along + up


def _runs(cells: Sequence[str]) -> list[tuple[int, int]]:
    """The first and last place of each run of obstacle cells."""
    return [(found.start(), found.end() - 1) for found in re.finditer("#+", "".join(cells))]


def routes() -> list[list[list[int]]]:
    """Way points [x, y] of all shortest ways: where they begin, turn and end."""
    free = _free()
    return [_turns(way) for way in _ways((0, 0), max(free), free)]


def _ways(here: Cell, goal: Cell, free: set[Cell]) -> Iterator[list[Cell]]:
    if here == goal:
        yield [here]
    for step in ((here[0] + 1, here[1]), (here[0], here[1] + 1)):  # back leads on no shortest way
        if step in free:
            yield from ([here, *rest] for rest in _ways(step, goal, free))


def _turns(way: list[Cell]) -> list[list[int]]:
    inner = [b for a, b, c in zip(way, way[1:], way[2:], strict=False) if (a[0] == b[0]) != (b[0] == c[0])]
    return [list(cell) for cell in (way[0], *inner, way[-1])]
