"""How well a network link is used: shards over HTTP at 50 MB/s, and from the warm cache.

    python -m benchmarks.link SHARDS        (as root, with nginx and iproute2)

nginx runs in a network namespace of its own behind a virtual link that the kernel limits to the rate.
"""

import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks import options as command_line
from benchmarks.measure import machine, seconds, spread, table
from benchmarks.served import nginx
from ragdist.config.run import DataOptions
from ragdist.data import index as index_file
from ragdist.data.order import Order
from ragdist.data.prefetch import Prefetcher
from ragdist.data.reader import ShardReader, SlotDataset
from ragdist.data.shard_files import ShardFiles
from ragdist.storage.cache import Cache

NAME, HERE, THERE = "ragdist-link", "10.97.0.1", "10.97.0.2"
BATCH = 64


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=not check)


@contextmanager
def link(root: Path, megabytes: int) -> Iterator[str]:
    """The URL of nginx over ``root``, behind a link of so many MB/s."""
    ip("netns", "add", NAME)
    try:
        ip("link", "add", "ragdist0", "type", "veth", "peer", "name", "ragdist1", "netns", NAME)
        ip("addr", "add", f"{HERE}/30", "dev", "ragdist0")
        ip("link", "set", "ragdist0", "up")
        ip("-n", NAME, "addr", "add", f"{THERE}/30", "dev", "ragdist1")
        ip("-n", NAME, "link", "set", "ragdist1", "up")
        rate = ["root", "tbf", "rate", f"{8 * megabytes}mbit", "burst", "256kb", "latency", "50ms"]
        ip("netns", "exec", NAME, "tc", "qdisc", "add", "dev", "ragdist1", *rate)
        with nginx(root, THERE, 8080, ["ip", "netns", "exec", NAME]) as url:
            yield url
    finally:
        ip("netns", "del", NAME, check=False)


def plain(url: str, index) -> None:
    """All shards one after the other, thrown away: what the link can do."""
    for shard in index.shards:
        with urllib.request.urlopen(f"{url}/{shard.name}") as answer:
            while answer.read(1 << 20):
                pass


def fetch(url: str, index, cache: Path) -> None:
    """All shards into the cache, as training has them fetched ahead."""
    files = ShardFiles(url, index, Cache(cache, 10**12))
    order = Order([s.samples for s in index.shards], index.digest, 0, 8, 16_384)
    with Prefetcher(files, order, BATCH, range(BATCH), lambda: 0, stop=index.samples, reach=10**12):
        while not all(shard.sha256 in files.cache for shard in index.shards):
            time.sleep(0.005)


def read(where: str, index, cache: Path) -> None:
    """An epoch of batches."""
    files = ShardFiles(where, index, Cache(cache, 10**12))
    order = Order([s.samples for s in index.shards], index.digest, 0, 8, 16_384)
    dataset = SlotDataset(
        ShardReader(files), order, 0, 64, BATCH, range(BATCH), DataOptions(crop_padding=0, flip=False)
    )
    with Prefetcher(files, order, BATCH, range(BATCH), lambda: 0, stop=index.samples, reach=10**12):
        for first in range(0, index.samples - BATCH, BATCH):
            dataset[first]


def main() -> None:
    parser = command_line.parser("link", __doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--megabytes", type=int, default=50, help="MB/s of the link")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    index = index_file.load(options.shards)
    found: dict[str, list[float]] = {}

    def time_it(name: str, work) -> None:
        found.setdefault(name, []).append(seconds(work))

    with link(options.shards, options.megabytes) as url:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                cache = Path(folder)
                time_it("plain", lambda: plain(url, index))
                time_it("fetch", lambda cache=cache: fetch(url, index, cache))
                time_it("local", lambda cache=cache: read(str(options.shards), index, cache))
                time_it("warm", lambda cache=cache: read(url, index, cache))
                time_it("cold", lambda cache=cache: read(url, index, cache / "other"))
    megabytes = index.bytes / 1e6
    print(f"{machine()}; {megabytes:.0f} MB in {len(index.shards)} shards, link of {options.megabytes} MB/s\n")
    rates = {name: [megabytes / t for t in found[name]] for name in ("plain", "fetch")}
    use = [a / b for a, b in zip(rates["fetch"], rates["plain"], strict=True)]
    print(table(["over the link", "MB/s", "ratio"], [
        ["one plain download after the other", spread(rates["plain"], 1), "1"],
        ["fetched ahead, verified, in the cache", spread(rates["fetch"], 1), spread(use)],
    ]) + "\n")  # fmt: skip
    speeds = {name: [index.samples / t for t in found[name]] for name in ("local", "warm", "cold")}
    rows = [
        [title, spread(speeds[name], 0), spread([a / b for a, b in zip(speeds[name], speeds["local"], strict=True)])]
        for name, title in (("local", "local folder"), ("warm", "URL, warm cache"), ("cold", "URL, empty cache"))
    ]
    print(table(["an epoch of batches from", "images/s", "ratio"], rows))


if __name__ == "__main__":
    main()
