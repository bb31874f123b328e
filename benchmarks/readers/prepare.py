"""The same JPEGs for each reader: as image files, as MosaicML's shards, and served over HTTP."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.readers import BATCH, ENTRIES, Data, installed
from benchmarks.served import free_port, nginx
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.tools.errors import UserError

RESUME = 0.9  # of an epoch


def resume_at(samples: int) -> int:
    """The sample that a run goes on with, at a batch's beginning."""
    return int(RESUME * samples) // BATCH * BATCH


@contextmanager
def prepared(shards: Path) -> Iterator[Data]:
    """All forms of the data, in temporary folders. Raises UserError where they are not RGB JPEGs with labels."""
    index = index_file.load(shards)
    if index.codec != "image" or index.shape[0] != 3 or not index.classes:
        raise UserError(f"{shards} does not hold RGB images with labels, which the readers are compared on")
    with tempfile.TemporaryDirectory(prefix="ragdist-readers-") as folder, ExitStack() as stack:
        work = Path(folder)
        _say(f"writing {index.samples:,} image files")
        _write_files(shards, index, work / "images")
        (work / "cache").mkdir()
        data = Data(
            str(shards.resolve()), str(work / "images"), str(work / "mds"), "", str(work / "cache"), index.samples
        )
        if installed(ENTRIES["streaming"]):
            _say("writing MosaicML's shards")
            from benchmarks.readers import mosaic

            mosaic.write(data, resume_at(index.samples))
        if shutil.which("nginx"):
            data = replace(data, url=stack.enter_context(nginx(shards, "127.0.0.1", free_port())))
        yield data


def _write_files(shards: Path, index: Index, into: Path) -> None:
    """Each sample's bytes as a file in a folder of its class."""
    for name in range(len(index.classes)):
        (into / f"{name:04}").mkdir(parents=True)
    for number, shard in enumerate(index.shards):
        content = memoryview((shards / shard.name).read_bytes())
        for sample, row in enumerate(index_file.load_table(shards, shard)):
            offset, length, label = (int(row[column]) for column in ("offset", "length", "label"))
            payload = content[offset : offset + length]
            if payload[:2] != b"\xff\xd8" or label < 0:
                raise UserError(f"{shards / shard.name} holds a sample that is no JPEG with a label")
            (into / f"{label:04}" / f"{number:05}-{sample:06}.jpg").write_bytes(payload)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
