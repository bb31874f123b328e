"""The readers that benchmarks.reader compares: one a file, opened the way its own documentation shows.

A file's ``Reader`` imports what it needs at its top, so that a process that measures one reader has loaded no other.
"""

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

BATCH = 64
SEED = 0


@dataclass(frozen=True)
class Data:
    """The same JPEGs in the form that each reader takes."""

    shards: str  # folder of ragdist's shards, which webdataset reads too
    images: str  # folder of image files in class folders
    mds: str  # folder of MosaicML's shards
    url: str  # where the shards are served; empty: nowhere
    cache: str  # folder that holds what was fetched from there
    samples: int


class Reader(Protocol):
    """The interface of a reader that is measured."""

    def __init__(self, data: Data, kind: str): ...

    def samples(self) -> Iterator[object]:
        """Decoded samples of one epoch, shuffled, in this process."""

    def batches(self, workers: int = 0, start: int = 0) -> Iterator[object]:
        """Batches uint8 [BATCH, channels, height, width] of one epoch from sample ``start``, shuffled.

        Opens the data; ``workers`` processes read, or this one where there are none.
        """


SAMPLES, BATCHES, FRESH = "samples", "batches", "fresh"  # in this process the first two, in fresh ones the last


@dataclass(frozen=True)
class Entry:
    """A row of the tables."""

    title: str
    file: str  # in this package
    package: str  # to be installed
    kind: str = ""  # where a file has several
    measured: tuple[str, ...] = (SAMPLES, BATCHES, FRESH)
    rival: bool = False
    served: bool = False  # needs a web server


ENTRIES = {
    "decoder": Entry("the bare decoder, bytes in memory", "decoder", "simplejpeg", "turbo", measured=(SAMPLES,)),
    "operator": Entry("torchvision's decoder, the same", "decoder", "torchvision", "operator", measured=(SAMPLES,)),
    "local": Entry("ragdist, local folder", "ours", "ragdist", "local"),
    "latents": Entry("ragdist, local folder, with latents", "ours", "ragdist", "latents", measured=(BATCHES,)),
    "warm": Entry("ragdist, HTTP, warm cache", "ours", "ragdist", "warm", served=True),
    "cold": Entry("ragdist, HTTP, empty cache", "ours", "ragdist", "cold", measured=(BATCHES, FRESH), served=True),
    "webdataset": Entry("webdataset", "wds", "webdataset", rival=True),
    "streaming": Entry("MosaicML Streaming", "mosaic", "streaming", rival=True),
    "folder": Entry("torchvision ImageFolder", "folder", "torchvision", rival=True),
}


def installed(entry: Entry) -> bool:
    return importlib.util.find_spec(entry.package) is not None


def make(name: str, data: Data) -> Reader:
    """The reader, its libraries imported and nothing opened."""
    entry = ENTRIES[name]
    return importlib.import_module(f"benchmarks.readers.{entry.file}").Reader(data, entry.kind)
