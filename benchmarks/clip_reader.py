"""How fast clips come out of ragdist's shards, and out of webdataset with soundfile as its decoder.

    python -m benchmarks.clip_reader SHARDS [SHARDS ...] [--rounds 5] [--seconds 1]

On one core, in seconds of CPU time, int16 out. The limit is soundfile on the same bytes in memory. Rows of each
folder of shards; make them, of any recordings, as

    python -m ragdist.shards RECORDINGS shards/clips-flac --rate 16000 --seconds 1
    python -m ragdist.shards RECORDINGS shards/clips-wav --rate 16000 --seconds 1 --format wav
"""

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks import options as command_line
from benchmarks.measure import in_turn, machine, rate, spread, table
from benchmarks.readers import BATCH, BATCHES, SAMPLES, clips
from ragdist.data import index as index_file
from ragdist.modalities import making
from ragdist.tools.errors import UserError, run_command

BARE, OURS, WITHOUT, RIVAL, TORCHAUDIO = (
    "soundfile, bytes in memory",
    "ragdist",
    "ragdist, without miniaudio",
    "webdataset, soundfile",
    "webdataset, torchaudio",
)
CLOCK = time.process_time
Rates = dict[tuple[str, str, str], list[float]]  # (folder, reader, samples or batches) -> clips per second each round


def measure(folders: list[str], rounds: int, seconds: float, with_torchaudio: Callable | None = None) -> Rates:
    """Clips per second of each reader of each folder, in turn."""
    works: dict[tuple[str, str, str], Callable[[], float]] = {}
    for folder in folders:
        readers = {BARE: clips.Bare(folder), OURS: clips.Ragdist(folder), WITHOUT: clips.WithoutMiniaudio(folder)}
        readers[RIVAL] = clips.Webdataset(folder)
        if with_torchaudio:
            readers[TORCHAUDIO] = clips.Webdataset(folder, with_torchaudio)
        for name, reader in readers.items():
            works[folder, name, SAMPLES] = lambda r=reader: rate(iter(r.samples()), seconds, lambda _: 1, clock=CLOCK)
            if name != BARE:
                works[folder, name, BATCHES] = lambda r=reader: rate(iter(r.batches()), seconds, len, clock=CLOCK)
    return in_turn(works, rounds, title="clips")


def report(rates: Rates, folders: list[str]) -> str:
    """The table."""
    head = [
        "clips a second of CPU time",
        "samples",
        f"of '{BARE}'",
        "batches",
        f"of '{BARE}'",
        f"times '{RIVAL}', samples",
        "batches",
    ]
    rows = []
    for folder in folders:
        here = {key[1:]: figures for key, figures in rates.items() if key[0] == folder}
        for name in dict.fromkeys(name for name, _ in here):
            row = [f"{Path(folder).name}: {name}"]
            for what in (SAMPLES, BATCHES):
                figures = here.get((name, what), [])
                row += [spread(figures, 0), _ratio(figures, here[BARE, SAMPLES], 2)] if figures else ["", ""]
            for what in (SAMPLES, BATCHES):
                ours = name in (OURS, WITHOUT)
                row.append(_ratio(here[name, what], here[RIVAL, what], 1) if ours else "")
            rows.append(row)
    return table(head, rows)


def _ratio(figures: list[float], others: list[float], digits: int) -> str:
    return spread([a / b for a, b in zip(figures, others, strict=True)], digits)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def main() -> None:
    parser = command_line.parser("clip_reader", __doc__)
    parser.add_argument("shards", nargs="+", help="folders of ragdist's shards of clips")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="that a reader is read for in a round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in options.shards:
        if index_file.load(folder).codec != "audio":
            raise UserError(f"{folder} holds no clips")
    decoder, why = clips.torchaudios()
    rates = measure(options.shards, options.rounds, options.seconds, decoder)
    packages = ", ".join(f"{name} {_version(name)}" for name in ("soundfile", "miniaudio", "webdataset"))
    index = index_file.load(options.shards[0])
    of = f"{index.samples:,} clips of {making('audio').in_words(index.form)}"
    print(f"{machine()}, {packages}; {of}, batches of {BATCH}, {options.rounds} rounds\n")
    print(report(rates, options.shards))
    if why:
        print(f"\nLeft out: {TORCHAUDIO} ({why})")


if __name__ == "__main__":
    run_command(main)
