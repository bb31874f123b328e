"""An open shard: byte ranges of its tar, by its table."""

import os
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from ragdist.data.packed import place_in_member

_HEADER = 512  # bytes, of a member in a tar


class OpenShard:
    """An open tar and its table.

    Args:
        file: the tar.
        table: TABLE records [samples].
    """

    def __init__(self, file: BinaryIO, table: np.ndarray):
        self.file, self.table = file, table
        # Of a sample: offset, length, CRC-32, label.
        self.row: Callable[[int], tuple[int, int, int, int]] = table.item

    def read(self, offset: int, length: int) -> memoryview:
        """Bytes of the file, fewer at its end, in memory that PyTorch may take as its own.

        Raises:
            OSError: the system cannot read them.
        """
        return memoryview(self._read(offset, length))

    def _read(self, offset: int, length: int) -> bytearray:
        # Not from a map of the file: one that is cut or cannot be read any more would end the process.
        return bytearray(os.pread(self.file.fileno(), length, offset))

    def payloads(self) -> Iterator[bytearray]:
        """The payloads of all samples; of one that cannot be read nothing, or its beginning.

        What lies side by side, as the rows of a member, is read in one go.
        """
        offsets, lengths = self.table["offset"].astype(np.int64), self.table["length"].astype(np.int64)
        after = np.concatenate([[-1], (offsets + lengths)[:-1]])
        starts = np.flatnonzero(offsets != after).tolist()
        for first, stop in zip(starts, [*starts[1:], len(offsets)], strict=True):
            start = int(offsets[first])
            ends = (offsets[first:stop] + lengths[first:stop] - start).tolist()
            try:
                data = self._read(start, ends[-1])
            except OSError:
                data = bytearray()
            # Not views: making many of these keeps Python's garbage collector busy, which takes ten times as long.
            yield from (data[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))

    def name_of(self, sample: int) -> str:
        """The name of a sample's member, and the row in it, for messages."""
        try:
            return name_of(self.table, sample, self._read)
        except OSError:
            return "its header cannot be read, either"


def name_of(table: np.ndarray, sample: int, read: Callable[[int, int], bytes | bytearray]) -> str:
    """Find the name of a sample's member, and the row in it, from the tar's header before it.

    Args:
        table: TABLE records of the shard.
        sample: its number in it.
        read: gives bytes of the shard by (offset, length).
    """
    header, row = place_in_member(table, sample)
    try:
        name = tarfile.TarInfo.frombuf(bytes(read(header, _HEADER)), "utf-8", "replace").name
    except tarfile.HeaderError:
        return "its header is damaged, too"
    return name if row is None else f"row {row} of {name}"
