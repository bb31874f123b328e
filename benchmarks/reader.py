"""How fast JPEGs come out of ragdist's shards, and out of what else one would take.

    python -m benchmarks.reader SHARDS [--rounds 5] [--seconds 2] [--plot FILE.svg]

Against webdataset's pipeline, MosaicML Streaming and torchvision's ImageFolder on the same JPEGs, decoded RGB out; the
bare decoder is the limit. What is not installed is left out: `pip install -e '.[benchmarks]'` brings them all.
"""

import math
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import options as command_line
from benchmarks.measure import in_turn, machine, rate, spread, table
from benchmarks.readers import BATCH, BATCHES, ENTRIES, FRESH, SAMPLES, Data, fresh, installed, make
from benchmarks.readers.prepare import RESUME, prepared, resume_at
from ragdist.tools import charts
from ragdist.tools.errors import run_command

WORKERS = 2
LIMIT, OURS = "decoder", "local"
# Of (reader, what) a figure each round: images per second, or what `fresh.measure` finds.
Rates = dict[tuple[str, str], list[float]]
Found = dict[tuple[str, str], list[dict[str, float]]]


def one_core(data: Data, names: list[str], rounds: int, seconds: float) -> Rates:
    """Images per second in this process; with an empty cache through the whole epoch, from nothing."""
    works: dict[tuple[str, str], Callable[[], float]] = {}
    for name in names:
        measured, reader = ENTRIES[name].measured, make(name, data)
        if SAMPLES in measured:
            works[name, SAMPLES] = lambda reader=reader: rate(iter(reader.samples()), seconds, lambda _: 1)
        if BATCHES in measured:
            budget, skip = (math.inf, 0) if name == "cold" else (seconds, 4 * BATCH)
            works[name, BATCHES] = lambda r=reader, b=budget, s=skip: rate(iter(r.batches()), b, len, skip=s)
    return in_turn(works, rounds, title="one core")


def fresh_processes(data: Data, names: list[str], rounds: int, seconds: float) -> Found:
    """What a fresh process finds at the beginning of an epoch, at 90% of it, and with workers."""
    works: dict[tuple[str, str], Callable[[], dict[str, float]]] = {}
    for name in names:
        if FRESH in ENTRIES[name].measured:
            budget = 1e9 if name == "cold" else seconds
            works[name, "first"] = lambda n=name: fresh.measure(n, data)
            works[name, "resume"] = lambda n=name: fresh.measure(n, data, start=resume_at(data.samples))
            works[name, "workers"] = lambda n=name, b=budget: fresh.measure(n, data, workers=WORKERS, seconds=b)
    return in_turn(works, rounds, warm=False, title="fresh process")


def report(rates: Rates, found: Found, names: list[str]) -> str:
    """The three tables."""
    return "\n\n".join((_rates(rates, names), _ratios(rates, names), _fresh(found, names)))


def _rates(rates: Rates, names: list[str]) -> str:
    rows = []
    for name in names:
        row = [ENTRIES[name].title]
        for what in (SAMPLES, BATCHES, "workers"):
            figures = rates.get((name, what), [])
            row.append(spread(figures, 0) if figures else "")
            if what != "workers":
                row.append(_ratio(figures, rates[LIMIT, SAMPLES], 2) if figures else "")
        rows.append(row)
    return table(["images/s", "samples", "of the decoder", "batches", "of the decoder", f"{WORKERS} loaders"], rows)


def _ratios(rates: Rates, names: list[str]) -> str:
    rivals = [name for name in names if ENTRIES[name].rival]
    rows = []
    for title, ours, what in (
        ("samples", OURS, SAMPLES), ("batches", OURS, BATCHES), ("batches with latents", "latents", BATCHES),
        (f"{WORKERS} loaders", OURS, "workers"),
    ):  # fmt: skip
        rows.append([title, *(_ratio(rates[ours, what], rates[rival, what], 1) for rival in rivals)])
    return table(["ragdist from a local folder, times", *(ENTRIES[name].title for name in rivals)], rows)


def _fresh(found: Found, names: list[str]) -> str:
    head = ["fresh process", "imports, s", "first batch, s", f"at {RESUME:.0%} of an epoch, s",
            f"first of {WORKERS} loaders, s", "resident, MB", "shared pages once, MB"]  # fmt: skip
    cells = [("first", "imports", 2), ("first", "first", 3), ("resume", "first", 3), ("workers", "first", 2),
             ("workers", "rss", 0), ("workers", "pss", 0)]  # fmt: skip
    rows = []
    for name in names:
        if FRESH in ENTRIES[name].measured:
            figures = [spread([one[figure] for one in found[name, what]], digits) for what, figure, digits in cells]
            rows.append([ENTRIES[name].title, *figures])
    return table(head, rows)


def _ratio(figures: list[float], others: list[float], digits: int) -> str:
    return spread([a / b for a, b in zip(figures, others, strict=True)], digits)


def picture(rates: Rates, names: list[str]) -> str:
    """Bars of batches on one core and with loaders; the decoders' are of samples."""
    series: dict[str, dict[str, list[float]]] = {"batches, one core": {}, f"{WORKERS} loaders": {}}
    for name in names:
        here = BATCHES if BATCHES in ENTRIES[name].measured else SAMPLES
        for figures, what in zip(series.values(), (here, "workers"), strict=True):
            if (name, what) in rates:
                figures[ENTRIES[name].title] = rates[name, what]
    return charts.median_bars(series, "images/s")


def versions() -> str:
    packages = ["torchvision", "simplejpeg", "pillow", "webdataset"]
    packages += ["mosaicml-streaming"] * installed(ENTRIES["streaming"])
    return ", ".join(f"{package} {version(package)}" for package in packages)


def main() -> None:
    parser = command_line.parser("reader", __doc__)
    parser.add_argument("shards", type=Path, help="folder of ragdist's shards: RGB JPEGs with labels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="that a reader is read for in a round")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    missing = {name: "not installed" for name, entry in ENTRIES.items() if not installed(entry)}
    if not shutil.which("nginx"):
        missing |= {name: "needs nginx" for name, entry in ENTRIES.items() if entry.served}
    names = [name for name in ENTRIES if name not in missing]
    with prepared(options.shards) as data:
        rates = one_core(data, names, options.rounds, options.seconds)
        found = fresh_processes(data, names, options.rounds, options.seconds)
        rates |= {key: [one["rate"] for one in rounds] for key, rounds in found.items() if key[1] == "workers"}
        print(f"{machine()}, {versions()}; {data.samples:,} images, batches of {BATCH}, {options.rounds} rounds\n")
        print(report(rates, found, names))
        if missing:
            print("\nLeft out: " + ", ".join(f"{ENTRIES[name].title} ({why})" for name, why in missing.items()))
        if options.plot:
            options.plot.write_text(picture(rates, names))
        sys.stdout.flush()
        print("deleting the temporary files", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
