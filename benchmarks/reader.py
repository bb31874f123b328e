"""How fast shards are read on one core, against the bare decoder and webdataset's pipeline.

    python -m benchmarks.reader SHARDS

Decoded RGB out, the same JPEGs for all. Resuming is the time from nothing to the first batch at 90%
of an epoch.
"""

import argparse
import itertools
from pathlib import Path

import torch

from benchmarks.measure import machine, paired, seconds, spread, table
from ragdist.data import index as index_file
from ragdist.data.order import Order
from ragdist.data.reader import ShardReader, SlotDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--samples", type=int, default=10_000, help="samples a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder, batch = options.shards, 64
    index = index_file.load(folder)
    updates = min(options.samples, index.samples) // batch
    count = updates * batch

    def dataset() -> SlotDataset:
        order = Order([s.samples for s in index.shards], index.digest, 0, 8, 65_536)
        return SlotDataset(ShardReader(folder, index), order, 0, 64, range(batch), 0, False)

    ours, reader, order = dataset(), ShardReader(folder, index), dataset().order
    places = list(zip(*(part.tolist() for part in order.locate(0, count)), strict=True))
    payloads = []
    for shard, sample in places:
        data, table_ = reader._shard(shard)
        row = table_[sample]
        payloads.append(
            torch.frombuffer(bytearray(data[int(row["offset"]) :][: int(row["length"])]), dtype=torch.uint8)
        )

    def bare() -> None:
        for payload in payloads:
            reader.codec.decode(payload, index.shape)

    def mapped() -> None:
        for shard, sample in places:
            reader.read(shard, sample)

    def batches() -> None:
        for update in range(updates):
            ours[update * batch]

    def webdataset_pipeline() -> None:
        import webdataset

        urls = [str(folder / shard.name) for shard in index.shards]
        stream = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).shuffle(1000).decode("pil")
        for _ in itertools.islice(stream, count):
            pass

    works = {
        "decoder alone, bytes in memory": bare,
        "ragdist, samples": mapped,
        "ragdist, batches with latents": batches,
        "webdataset, shuffle and decode('pil')": webdataset_pipeline,
    }
    found = paired(works, options.rounds)
    last = found["webdataset, shuffle and decode('pil')"]
    rows = [[name, spread([count / t for t in took], 0), spread([b / a for a, b in zip(took, last, strict=True)])]
            for name, took in found.items()]  # fmt: skip
    print(f"{machine()}; {count:,} of {index.samples:,} samples {list(index.shape)}, one core\n")
    print(table(["reader", "images/s", "ratio to webdataset"], rows))
    start = int(0.9 * index.samples)
    print(f"\nfirst batch at 90% of an epoch: {1000 * seconds(lambda: dataset()[start]):.0f} ms")


if __name__ == "__main__":
    main()
