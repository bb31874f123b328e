"""What ten million samples cost before the first one is read: time to start, memory of index and order.

python -m benchmarks.order [--samples 10000000]
"""

import time
import tracemalloc

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from ragdist.data import index as index_file
from ragdist.data.index import Index, Shard
from ragdist.data.order import Order

SHARD = 10_000


def main() -> None:
    parser = command_line.parser("order", __doc__)
    parser.add_argument("--samples", type=int, default=10_000_000)
    options = parser.parse_args()
    shards = tuple(
        Shard(f"shard-{i:06d}.tar", f"shard-{i:06d}.npy", 25_000_000, SHARD, f"{i:064x}", f"{i:064x}")
        for i in range(options.samples // SHARD)
    )
    text = Index("image", (3, 256, 256), (), shards).dumps()
    tracemalloc.start()
    start = time.perf_counter()
    index = index_file.loads(text, "index.json")
    loaded = time.perf_counter()
    order = Order([shard.samples for shard in index.shards], index.digest, 0, 8, 16_384)
    order.locate_slots(int(0.9 * index.samples) // 256 * 256, 256, range(256))
    located = time.perf_counter()
    for first in range(0, 1_000_000, 256):
        order.locate_slots(first, 256, range(256))
    walked = time.perf_counter()
    peak = tracemalloc.get_traced_memory()[1]
    print(f"{machine()}; {index.samples:,} samples in {len(index.shards):,} shards\n")
    print(table(["what", ""], [
        ["index read and checked", f"{loaded - start:.2f} s"],
        ["first batch located, at 90% of an epoch", f"{located - loaded:.2f} s"],
        ["a sample located, traced", f"{(walked - located):.2f} microseconds"],
        ["memory, at most", f"{peak / 1e6:.0f} MB"],
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
