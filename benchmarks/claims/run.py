"""Train cells in processes side by side; each result is a line of a file, so that a stopped command goes on."""

import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import game, lines, routes, scarce, stacked, toys
from benchmarks.claims.plan import STUDIES, Cell
from ragdist.evaluation.report.history import read_lines
from ragdist.objective.relative import flatten
from ragdist.tools.errors import Diverged
from ragdist.tools.memory import keep_freed_memory

_AT_A_TIME = 1 << 22  # numbers of samples that are made at once, at most


def read(path: Path) -> dict[Cell, dict[str, Any]]:
    """What was found for each cell, where that still is what the plan says: {"looks", "seconds", ...}."""
    found = {}
    for row in read_lines(path):
        cell = Cell(**{name: row[name] for name in ("study", "loss", "variant", "rate", "seed")})
        if cell.study in STUDIES and row["fingerprint"] == cell.fingerprint():
            found[cell] = row
    return found


def run(todo: list[Cell], path: Path, data: dict[str, str], jobs: int, said: Callable[[Cell, dict], None]) -> None:
    """Train these and add them to the file.

    Args:
        todo: the cells.
        path: the file of results.
        data: shards by task, {"digits": ..., "photographs": ..., "speech": ...}.
        jobs: processes, of one thread each.
        said: called with each cell and its row.
    """
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=begin) as pool:
        futures = {pool.submit(train, cell, data): cell for cell in todo}
        for future in as_completed(futures):
            row = future.result()
            with path.open("a") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            said(futures[future], row)


def begin() -> None:
    """Set up a process that trains: one thread, and freed memory kept."""
    torch.set_num_threads(1)
    keep_freed_memory()


@cache
def task(name: str, share: float, where: str):
    """The data and the judge of a task, as `toys.Toy`, kept from one cell to the next."""
    kind, _, toy = name.partition(":")
    folder = Path("~/.cache/ragdist").expanduser()
    if kind == "toy":
        return getattr(toys, toy)(), (2,), toys.SAMPLES
    if kind == "stacked":
        made = stacked.Stacked(where, folder)
        return made, made.shape, stacked.SAMPLES
    if kind == "text":
        made = lines.Lines(where, folder)
        return made, made.shape, lines.SAMPLES
    if kind == "routes":
        made = routes.Routes()
        return made, made.shape, made.count
    made = scarce.Scarce(where, share, folder)
    return made, made.shape, scarce.SAMPLES


def train(cell: Cell, data: dict[str, str]) -> dict[str, Any]:
    """Train a cell; its row of results."""
    study = STUDIES[cell.study]
    where = data.get({"stacked": "digits"}.get(study.task, study.task), "")
    made, shape, count = task(study.task, study.share, where)
    began, looks, problem = time.perf_counter(), [], ""

    def look(updates: int, generator) -> None:
        found = made.judge(game.samples(generator, count, cell.seed, min(_AT_A_TIME // math.prod(shape), 2048)))
        looks.append({"updates": updates, **found})

    points = []
    try:
        config = game.configured(cell.options(), cell.seed)
        classes = made.classes if config.network.labels else 0
        points_of, head = getattr(made, "points", flatten), getattr(made, "head", "tanh")
        generator = game.play(config, made.draw, shape, study.updates, study.looks, look, classes, points_of, head)
        if isinstance(made, toys.Toy) and cell.seed == 0:  # for the page's picture
            points = [[round(x, 4) for x in point] for point in game.samples(generator, 1000, cell.seed)[:400].tolist()]
    except Diverged as error:
        problem = str(error)
    return {
        **{name: getattr(cell, name) for name in ("study", "loss", "variant", "rate", "seed")},
        "fingerprint": cell.fingerprint(), "looks": looks, "problem": problem,
        "seconds": round(time.perf_counter() - began, 2), "points": points,
    }  # fmt: skip
