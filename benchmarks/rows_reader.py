"""How fast small samples come out of packed shards, and one by one out of webdataset.

    python -m benchmarks.rows_reader [--samples 200000] [--rounds 5] [--seconds 1]

On one core, in seconds of CPU time. Samples are made up: lines of 32 characters, uint8 [32], with a label each, in
shards of 10,000. webdataset reads them as one member a sample, decoded by NumPy from a .npy or from bare bytes, which
is the least that it can do, and from ragdist's packed shards, whose arrays it takes apart; each through its shuffle
buffer.
"""

import hashlib
import io
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import webdataset
from torch import Tensor

from benchmarks import options as command_line
from benchmarks.measure import in_turn, machine, rate, spread, table
from ragdist.config.run import DataOptions
from ragdist.data import index as index_file
from ragdist.data import packed
from ragdist.data.index import Index, Shard
from ragdist.data.order import Order
from ragdist.data.reader import ShardReader, SlotDataset
from ragdist.data.shard_files import ShardFiles
from ragdist.data.writing import tar_writer
from ragdist.data.writing.members import Sample, write_each, write_packed
from ragdist.modalities.base import Encoded, Form
from ragdist.tools.errors import run_command

BATCHES, SHARD, LENGTH, Z_DIM = (64, 256), 10_000, 32, 64
FORM = Form((LENGTH,), {"tokens": [chr(number) for number in range(32, 96)]})
FIRST, MEMORY, LATENTS = "ragdist, first epoch", "ragdist, from memory", f"ragdist, with latents of {Z_DIM}"
NPY, BARE, PACKED = "webdataset, .npy", "webdataset, bare bytes", "webdataset, packed shards"


def write(place: Path, rows: np.ndarray, writer: Callable, extension: str) -> list[Shard]:
    """Write shards of rows, [n, LENGTH], and their tables."""
    shards = []
    for number, first in enumerate(range(0, len(rows), SHARD)):
        path = place / f"shard-{number:06d}.tar"
        samples = (
            Sample(first + i, i % 10, Encoded(_bytes(row, extension), extension.partition(" ")[0], (LENGTH,)))
            for i, row in enumerate(rows[first : first + SHARD])
        )
        with open(path, "wb") as file:
            records, size = writer(samples, file, first)
            file.write(tar_writer.ending(size))
        np.save(path.with_suffix(".npy"), records)
        digests = [hashlib.sha256(content).hexdigest() for content in (path.read_bytes(), records.tobytes())]
        shards.append(Shard(path.name, f"{path.stem}.npy", path.stat().st_size, len(records), *digests))
    return shards


def _bytes(row: np.ndarray, extension: str) -> bytes:
    if extension != "npy":
        return row.tobytes()
    file = io.BytesIO()
    np.save(file, row)
    return file.getvalue()


class Ragdist:
    """ragdist's reader, as training sets it up; new for each epoch, or kept with what it holds."""

    def __init__(self, place: Path, batch: int, z_dim: int = 0, *, new: bool = False):
        self.place, self.batch, self.z_dim, self.new, self._kept = place, batch, z_dim, new, None

    def _dataset(self) -> SlotDataset:
        index = index_file.load(self.place)
        order = Order([shard.samples for shard in index.shards], index.digest, 0, 8, 16_384)
        reader, plain = ShardReader(ShardFiles(self.place, index)), DataOptions(crop_padding=0, flip=False)
        return SlotDataset(reader, order, 0, self.z_dim, self.batch, range(self.batch), plain)

    def __call__(self) -> Iterator[Tensor]:
        if self.new or self._kept is None:
            self._kept = self._dataset()
        samples = self._kept.order.samples
        return (self._kept[first].samples for first in range(0, samples // self.batch * self.batch, self.batch))


class Webdataset:
    """webdataset's pipeline as its documentation shows it: shards and samples shuffled, decoded, in batches."""

    def __init__(self, place: Path, batch: int, name: str):
        self.urls, self.batch, self.name = sorted(map(str, place.glob("*.tar"))), batch, name

    def __call__(self) -> Iterator[Tensor]:
        random.seed(0)
        dataset = webdataset.WebDataset(self.urls, shardshuffle=100, seed=0)
        if self.name == PACKED:
            dataset = dataset.decode().to_tuple(packed.ROWS, packed.LABELS).compose(_apart).shuffle(1000)
        elif self.name == BARE:
            dataset = (
                dataset.shuffle(1000).to_tuple("bin", "cls").map_tuple(partial(np.frombuffer, dtype=np.uint8), int)
            )
        else:
            dataset = dataset.shuffle(1000).decode().to_tuple("npy", "cls")
        return (torch.as_tensor(rows) for rows, _ in dataset.batched(self.batch))


def _apart(members: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, int]]:
    for rows, labels in members:
        yield from zip(rows, labels.tolist(), strict=True)


def measure(folder: Path, samples: int, rounds: int, seconds: float) -> dict[tuple[str, str], list[float]]:
    """Samples per second of (reader, batch) in each round, in turn."""
    rows = np.random.default_rng(0).integers(0, 64, (samples, LENGTH), dtype=np.uint8)
    places = {name: folder / str(number) for number, name in enumerate((MEMORY, NPY, BARE))}
    for place in places.values():
        place.mkdir()
    in_rows = partial(write_packed, dtype=np.dtype(np.uint8), form=FORM)
    shards = write(places[MEMORY], rows, in_rows, "npy rows")
    index = Index("text", FORM.shape, tuple("0123456789"), tuple(shards), dict(FORM.spec))
    (places[MEMORY] / index_file.INDEX).write_text(index.dumps())
    write(places[NPY], rows, lambda samples, file, first: write_each(samples, file), "npy")
    write(places[BARE], rows, lambda samples, file, first: write_each(samples, file), "bin")
    works = {}
    for batch in BATCHES:
        readers = {
            FIRST: Ragdist(places[MEMORY], batch, new=True),
            MEMORY: Ragdist(places[MEMORY], batch),
            LATENTS: Ragdist(places[MEMORY], batch, Z_DIM),
            NPY: Webdataset(places[NPY], batch, NPY),
            BARE: Webdataset(places[BARE], batch, BARE),
            PACKED: Webdataset(places[MEMORY], batch, PACKED),
        }
        for name, reader in readers.items():
            budget, skip = (1e9, 0) if name == FIRST else (seconds, 4096)
            works[name, str(batch)] = partial(_rate, reader, budget, skip)
    return in_turn(works, rounds, title="rows")


def _rate(reader: Callable[[], Iterator[Tensor]], budget: float, skip: int) -> float:
    return rate(iter(reader()), budget, len, skip=skip, chunk=2048, clock=time.process_time)


def report(rates: dict[tuple[str, str], list[float]]) -> str:
    """The table."""
    head = ["samples a second of CPU time"]
    head += [title for batch in BATCHES for title in (f"batches of {batch}", f"times '{NPY}'")]
    rows = []
    for name in dict.fromkeys(name for name, _ in rates):
        row = [name]
        for batch in BATCHES:
            figures, others = rates[name, str(batch)], rates[NPY, str(batch)]
            row += [spread(figures, 0), spread([a / b for a, b in zip(figures, others, strict=True)], 1)]
        rows.append(row)
    return table(head, rows)


def main() -> None:
    parser = command_line.parser("rows_reader", __doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="that a reader is read for in a round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(Path(folder), options.samples, options.rounds, options.seconds)
    print(f"{machine()}, NumPy {np.__version__}, webdataset {version('webdataset')}; {options.samples:,} samples, "
          f"{options.rounds} rounds\n")  # fmt: skip
    print(report(rates))


if __name__ == "__main__":
    run_command(main)
