"""Shared code of the benchmarks: paired rounds, medians and spreads, tables, the machine."""

import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

Name, Figure = TypeVar("Name"), TypeVar("Figure")


def machine(device: torch.device | None = None) -> str:
    """The processor, or the GPU, and versions, in a line."""
    if device is not None and device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, Python {platform.python_version()}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def paired(works: dict[str, Callable[[], object]], rounds: int, *, title: str = "") -> dict[str, list[float]]:
    """Seconds of each work in each round, run in turn so that a drift of the machine meets them all.

    A first round warms up and is not counted. A title shows progress.
    """
    return in_turn({name: lambda work=work: seconds(work) for name, work in works.items()}, rounds, title=title)


def in_turn(
    works: dict[Name, Callable[[], Figure]], rounds: int, *, warm: bool = True, title: str = ""
) -> dict[Name, list[Figure]]:
    """Results of each work in each round, after one that is not counted if ``warm``; a title shows progress."""
    found: dict[Name, list[Figure]] = {name: [] for name in works}
    for round_number in range(1 - warm, rounds + 1):
        for name, work in works.items():
            if title:
                what = " ".join(name) if isinstance(name, tuple) else name
                print(f"{title}, round {round_number} of {rounds}: {what}", file=sys.stderr, flush=True)
            figure = work()
            if round_number:
                found[name].append(figure)
    return found


def rate(
    stream: Iterator[object],
    budget: float,
    images: Callable[[object], int],
    skip: int = 256,
    chunk: int = 64,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Images per second of a stream, which it is read for so many seconds or to its end.

    Args:
        images: how many an item of the stream is.
        skip: images before the clock starts.
        chunk: images between two looks at the clock.
        clock: in seconds; of work in this process alone, CPU time says the same beside other processes.
    """
    skipped = 0
    while skipped < skip:
        skipped += images(next(stream))
    start, count, took = clock(), 0, 0.0
    while took < budget:
        new = 0
        while new < chunk and (item := next(stream, None)) is not None:
            new += images(item)
        took = clock() - start
        count += new
        if new < chunk:
            break
    assert count, f"there are no more than {skip} images"
    return count / took


def spread(values: list[float], digits: int = 2) -> str:
    """``median (least to most)``."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)
