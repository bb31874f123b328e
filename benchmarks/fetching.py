"""Megabytes a second in which shards come from an object store, one at a time and four as a run fetches them ahead.

`python -m benchmarks.fetching` starts an S3 server on this machine and fills it; with the URL of a folder, which
`AWS_ENDPOINT_URL` and the like lead to, it reads the `*.tar` of a data set there as they are.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks import options as command_line
from ragdist.storage.store import Store

SHARDS, BYTES = 8, 64_000_000


@contextmanager
def own_server() -> Iterator[str]:
    """A folder with shards of noise, in a server of its own."""
    from tests.servers import s3_client, s3_server

    with s3_server() as environment:
        os.environ.update(environment)
        for number in range(SHARDS):
            name = f"shards/shard-{number:06d}.tar"
            s3_client(environment).put_object(Bucket="bucket", Key=name, Body=os.urandom(BYTES))
        yield "s3://bucket/shards"


def measure(url: str, at_once: int) -> float:
    """MB/s of all shards, written to a disk."""
    store = Store(url)
    names = [f"shard-{number:06d}.tar" for number in range(SHARDS)]
    sizes = [store.stat(name)[0] for name in names]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        list(pool.map(lambda name, size: store.fetch(name, size, Path(folder) / name), names, sizes))
        return sum(sizes) / 1e6 / (time.perf_counter() - began)


def main() -> None:
    parser = command_line.parser("fetching", __doc__)
    parser.add_argument("url", nargs="?", help="folder of a data set with at least eight shards")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.url:
        _show(arguments.url, arguments.repeat)
        return
    with own_server() as url:
        _show(url, arguments.repeat)


def _show(url: str, repeat: int) -> None:
    for at_once in (1, 4):
        found = sorted(measure(url, at_once) for _ in range(repeat))
        print(f"{at_once} at a time: {found[len(found) // 2]:,.0f} MB/s (from {found[0]:,.0f} to {found[-1]:,.0f})")


if __name__ == "__main__":
    main()
