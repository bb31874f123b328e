"""How fast shards are read on one core, against the bare decoder and webdataset's pipeline.

    python -m benchmarks.reader SHARDS

Decoded RGB out, the same JPEGs for all. Resuming is the time from nothing to the first batch at 90%
of an epoch.
"""

import argparse
import itertools
from pathlib import Path

import torch
from torchvision.io import decode_image

from benchmarks.measure import machine, paired, seconds, spread, table
from ragdist.data import index as index_file
from ragdist.data.order import Order
from ragdist.data.reader import ShardReader, SlotDataset
from ragdist.data.shardfiles import ShardFiles


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
        order = Order([s.samples for s in index.shards], index.digest, 0, 8, 16_384)
        return SlotDataset(ShardReader(ShardFiles(folder, index)), order, 0, 64, batch, range(batch), 0, False)

    ours, reader, order = dataset(), ShardReader(ShardFiles(folder, index)), dataset().order
    places = list(zip(*(part.tolist() for part in order.locate(0, count)), strict=True))
    tars = [(folder / shard.name).read_bytes() for shard in index.shards]
    tables = [index_file.load_table(folder, shard) for shard in index.shards]
    payloads = []
    for shard, sample in places:
        start = int(tables[shard][sample]["offset"])
        payload = tars[shard][start : start + int(tables[shard][sample]["length"])]
        payloads.append(torch.frombuffer(bytearray(payload), dtype=torch.uint8))

    def operator() -> None:
        for payload in payloads:
            torch.ops.image.decode_image.default(payload, 3)

    def torchvision() -> None:
        for payload in payloads:
            decode_image(payload, mode="RGB")

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
        "torchvision's operator alone, bytes in memory": operator,
        "torchvision.io.decode_image, bytes in memory": torchvision,
        "ragdist, samples": mapped,
        "ragdist, batches with latents": batches,
        "webdataset, shuffle and decode('pil')": webdataset_pipeline,
    }
    found = paired(works, options.rounds)
    limit = found["torchvision's operator alone, bytes in memory"]
    last = found["webdataset, shuffle and decode('pil')"]
    rows = []
    for name, took in found.items():
        ratios = [[b / a for a, b in zip(took, other, strict=True)] for other in (last, limit)]
        rows.append([name, spread([count / t for t in took], 0), *map(spread, ratios)])
    print(f"{machine()}; {count:,} of {index.samples:,} samples {list(index.shape)}, one core\n")
    print(table(["reader", "images/s", "ratio to webdataset", "ratio to the operator"], rows))
    start = int(0.9 * index.samples)
    print(f"\nfirst batch at 90% of an epoch: {1000 * seconds(lambda: dataset()[start]):.0f} ms")


if __name__ == "__main__":
    main()
