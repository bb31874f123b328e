"""Packing of samples into shards, or pieces of shards, and the record of what is in them.

A shard is the members of its samples, one after the other, and an ending; so the pieces of a shard, put together,
are the same bytes whoever made them. Pieces of packed samples are whole members. Nothing here imports PyTorch: a
process starts in a fraction of a second.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.index import NO_LABEL
from ragdist.data.writing import tar_writer
from ragdist.data.writing.items import Opener
from ragdist.data.writing.members import Sample, write_each, write_packed
from ragdist.modalities.base import Encoded, Form
from ragdist.storage.files import sync, sync_folder, write_whole
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import owner_name
from ragdist.tools.words import with_article

Advance = Callable[[int], None]  # called with the samples done since the last call


@dataclass
class Packer:
    """The source and options of all pieces of work, pickled once for each process."""

    read: Callable[[Any], Any]  # of the source
    modality: str
    options: ShardOptions
    sample_options: Any  # the modality's own
    first: tuple[str, Form]  # name and form of a sample that all others must be like
    shards: str  # folder of the finished shards
    records: str  # folder of what is known of them
    pieces: str  # folder of pieces

    divided: bool = False  # whether a place is an item's, and a number of its part

    @property
    def row_type(self) -> np.dtype | None:
        """The type of the numbers of samples that are packed; None: they are not."""
        return modalities.row_type(self.modality, self.first[1])

    def encode(self, item_at: Opener, place: Any) -> tuple[Encoded, int]:
        """Encode a sample; with the bytes that it is made from. Raises OSError or ValueError where it is bad."""
        place, *part = place if self.divided else (place,)
        item = item_at(place)
        encoded = modalities.making(self.modality).encode(item, self.sample_options, *part)
        return encoded, len(item) if isinstance(item, bytes) else getattr(item, "bytes", len(encoded.data))

    def __call__(self, job: "Job", advance: Advance) -> Any:
        """Do a piece of work."""
        function, *arguments = job
        return function(self, *arguments, advance)


Job = tuple[Any, ...]  # one of this file's functions and its arguments: all but the packer and ``advance``


@dataclass(frozen=True)
class Items:
    """Consecutive samples in the order of writing."""

    number: int  # of the first: its key
    places: Sequence[Any]
    labels: Sequence[int]  # empty: none
    names: Sequence[str]


@dataclass(frozen=True)
class Piece:
    """A piece of a shard on the disk: a run of members."""

    path: str
    first: int  # number of its first sample
    bytes: int
    table: np.ndarray  # TABLE records, offsets from the piece's start
    skipped: tuple[str, ...]  # items that could not be read, with the reason
    notes: dict[str, int]  # see `Encoded.notes`: how many samples each is said of


@dataclass(frozen=True)
class Record:
    """The record of a finished shard: the fields of its index entry, and what was left out of it."""

    name: str
    bytes: int
    samples: int
    sha256: str
    table: str
    table_sha256: str
    skipped: tuple[str, ...]
    uploaded: bool = False
    notes: dict[str, int] = field(default_factory=dict)

    def save(self, folder: Path | str) -> None:
        """Write the record whole, to a folder of records."""
        write_whole(Path(folder) / f"{Path(self.name).stem}.json", json.dumps(asdict(self)))


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:06d}.tar"


def pack_shard(packer: Packer, number: int, items: Items, advance: Advance) -> Record:
    """Write a whole shard."""
    part = _part(packer, number)
    with open(part, "wb", buffering=1 << 20) as file:
        digest = hashlib.sha256()
        piece = _members(packer, items, _Both(file, digest), str(part), advance)
        _end(file, digest, piece.bytes)
    return _seal(packer, number, part, digest, [piece])


def pack_piece(packer: Packer, number: int, items: Items, advance: Advance) -> Piece:
    """Write a piece of a shard."""
    path = Path(packer.pieces) / f"{Path(shard_name(number)).stem}-{items.number:09d}"
    with open(path, "wb", buffering=1 << 20) as file:
        return _members(packer, items, file, str(path), advance)


def join_pieces(packer: Packer, number: int, pieces: Sequence[Piece], advance: Advance) -> Record:
    """Join the pieces of a shard, and delete them."""
    part = _part(packer, number)
    start, digest = 0, hashlib.sha256()
    with open(part, "wb", buffering=0) as file:
        for piece in pieces:
            with open(piece.path, "rb", buffering=0) as source:
                while data := source.read(1 << 20):
                    digest.update(data)
                    file.write(data)
            piece.table["offset"] += start
            start += piece.bytes
        _end(file, digest, start)
    record = _seal(packer, number, part, digest, pieces)
    for piece in pieces:
        os.unlink(piece.path)
    return record


class _Both:
    """A file whose content is hashed as it is written."""

    def __init__(self, file, digest):
        self.file, self.digest = file, digest

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


def _members(packer: Packer, items: Items, file, path: str, advance: Advance) -> Piece:
    skipped, notes = [], Counter()
    samples = _encoded(packer, items, advance, skipped, notes)
    if (dtype := packer.row_type) is None:
        table, size = write_each(samples, file)
    else:
        table, size = write_packed(samples, file, items.number, dtype, packer.first[1])
    return Piece(path, items.number, size, table, tuple(skipped), dict(notes))


def _encoded(
    packer: Packer, items: Items, advance: Advance, skipped: list[str], notes: Counter[str]
) -> Iterator[Sample]:
    """Encode items; what cannot be read, and what is noted of the others, is added to the last two arguments."""
    labels = items.labels if len(items.labels) else [NO_LABEL] * len(items.places)
    making, done, alike = modalities.making(packer.modality), 0, None
    with making.reading(), Opener(packer.read, packer.modality) as item_at:
        for i, (place, label) in enumerate(zip(items.places, labels, strict=True)):
            done += 1
            if done == 32:
                advance(done)
                done = 0
            try:
                encoded, _ = packer.encode(item_at, place)
            except (OSError, ValueError) as error:
                if packer.options.bad == "fail":
                    raise bad_item(packer.modality, items.names[i], error) from error
                skipped.append(f"{items.names[i]}: {error}")
                continue
            # Equal to the one before, as almost always, takes less to find out than a form takes to make.
            if (encoded.shape, encoded.spec) != alike and encoded.form != packer.first[1]:
                problem = making.refusal(packer.first, (items.names[i], encoded.form), writing=True)
                assert problem, f"{packer.modality}: forms that differ cannot be in one data set"
                raise UserError(problem)
            alike = encoded.shape, encoded.spec
            notes.update(encoded.notes)
            yield Sample(items.number + i, label, encoded)
    advance(done)


def _part(packer: Packer, number: int) -> Path:
    # With the process's name, for one that outlives its killed parent for a moment may still write.
    return Path(packer.shards) / f".{shard_name(number)}.part-{owner_name()}"


def _end(file, digest, size: int) -> None:
    digest.update(tar_writer.ending(size))
    file.write(tar_writer.ending(size))
    file.flush()
    os.fsync(file.fileno())


def _seal(packer: Packer, number: int, part: Path, digest, pieces: Sequence[Piece]) -> Record:
    """Publish a finished shard, told of by its pieces: content on the disk first, then its name, then its record."""
    table = np.concatenate([piece.table for piece in pieces])
    skipped = tuple(line for piece in pieces for line in piece.skipped)
    notes = dict(sum((Counter(piece.notes) for piece in pieces), Counter()))
    path = part.with_name(shard_name(number))
    table_path = path.with_suffix(".npy")
    size, table_sha256 = part.stat().st_size, hashlib.sha256(table.tobytes()).hexdigest()
    record = Record(
        path.name, size, len(table), digest.hexdigest(), table_path.name, table_sha256, skipped, notes=notes
    )
    if len(table):
        table_part = part.with_suffix(f".npy-{owner_name()}")
        with open(table_part, "wb") as file:
            np.save(file, table, allow_pickle=False)
        sync(table_part)
        table_part.rename(table_path)
        part.rename(path)
        sync_folder(path.parent)
    else:  # all of its samples were skipped
        part.unlink()
    record.save(packer.records)
    return record


def bad_item(modality: str, name: str, error: Exception) -> UserError:
    """The error about an item, called ``name``, that cannot be read as a sample."""
    unit = modalities.making(modality).unit
    return UserError(f"{name} cannot be read as {with_article(unit)} ({error}): remove it, or give --bad skip")
