"""The scan of one shard that someone else wrote, and the note with its result."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragdist.data.index import NO_LABEL, TABLE
from ragdist.data.indexing.tar_files import Tar, mapped
from ragdist.data.indexing.tar_samples import (
    CODEC,
    Sample,
    choose_payload,
    group,
    is_dotted_image,
    label_of,
    payload_of,
)
from ragdist.data.indexing.tar_walk import Member, TarDamage, printable, walk
from ragdist.data.parallel import Advance
from ragdist.modalities import CODECS
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

if TYPE_CHECKING:  # a mistake in the command is said before PyTorch is imported
    from torch import Tensor

LISTED = 20  # bad samples of a shard that are named; the others are counted


@dataclass(frozen=True)
class Plan:
    """Extension, shape and label that all samples have in common."""

    payload: str  # extension; empty: the one image of each sample
    shape: tuple[int, ...]
    first: str  # shard and key of the sample that says so
    found_grey: bool  # it is grey, and nobody said that all should be


@dataclass(frozen=True)
class Job:
    """One shard to scan."""

    tar: Tar
    plan: Plan
    label: str  # key in the .json; empty: .cls
    skip: bool  # bad samples are left out
    note: Path  # to leave the `Found` in
    scratch: Path  # folder for a copy of a remote tar


@dataclass
class Found:
    """Result of scanning a shard. Labels in the table are numbers of ``values``."""

    sha256: str
    table: np.ndarray  # TABLE [samples]
    hashes: np.ndarray  # uint64 [samples], of the keys
    keys: list[str]
    values: list[int | str]  # labels as they are written there
    bad: list[str]  # samples that are left out, and why: the first LISTED
    bad_count: int
    ignored: dict[str, int]  # members that nothing is read from, by extension
    dotted: str  # one of them that looks like a sample of its own; empty: none

    def save(self, path: Path) -> None:
        rest = {k: v for k, v in vars(self).items() if k not in ("table", "hashes")}
        text = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        out = io.BytesIO()
        np.savez(out, table=self.table, hashes=self.hashes, rest=text)
        write_whole(path, out.getvalue())

    @classmethod
    def load(cls, path: Path) -> Found:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(table=arrays["table"], hashes=arrays["hashes"], **json.loads(arrays["rest"].tobytes().decode()))


def make_plan(found: list[Tar], scratch: Path, payload: str, channels: int) -> Plan:
    """Find the extension and shape of the first sample that can be decoded.

    Raises:
        UserError: no shard holds one, or nothing tells which of several images a sample is.
    """
    codec, why = CODECS[CODEC], ""
    for tar in found:
        with mapped(tar, scratch, keep=True) as data:  # the tar's own job needs it, too
            samples = _samples(tar.place, data)[0]
            chosen = payload or choose_payload(samples)
            if chosen is None:
                raise UserError(
                    f"{tar.place}: some samples have several images, and there is no extension that all have: "
                    "say which to read with --payload, such as --payload jpg"
                )
            for sample in samples:
                try:
                    bytes_ = _payload(data, payload_of(sample, chosen))
                    shape = codec.shape(bytes_)
                    shape = (channels or shape[0], *shape[1:])
                    codec.decode(bytes_, shape)
                except ValueError as error:
                    why = why or f"the first is {printable(sample.key)} of {tar.place}: {error}"
                    continue
                return Plan(chosen, shape, f"{printable(sample.key)} of {tar.place}", not channels and shape[0] == 1)
    raise UserError(f"no sample can be read: {why or 'there is none in the shards'}")


def survey(job: Job, advance: Advance) -> None:
    """Scan a shard: walk it, decode every sample, and write the note.

    Raises:
        UserError: the shard is damaged, or a sample is bad and bad ones are not left out.
    """
    with mapped(job.tar, job.scratch) as data:
        found = _look(job, data, advance)
    found.save(job.note)


def _look(job: Job, data: mmap.mmap, advance: Advance) -> Found:
    samples, ignored = _samples(job.tar.place, data)
    rows, keys, bad, values, dotted, done = [], [], [], {}, "", 0
    for number, sample in enumerate(samples):
        try:
            member, label = _read(sample, data, job)
        except ValueError as error:
            line = f"{job.tar.place}: sample {printable(sample.key)} at byte {sample.start:,}: {error}"
            if not job.skip:
                raise UserError(f"{line}; mend the shard, or leave such samples out with --bad skip") from error
            bad.append(line)
            continue
        crc = zlib.crc32(memoryview(data)[member.offset : member.offset + member.size])
        number_of = NO_LABEL if label is None else values.setdefault(label, len(values))
        rows.append((member.offset, member.size, crc, number_of))
        keys.append(sample.key)
        for extension, other in sample.members.items():
            if other is not member and extension != ("json" if job.label else "cls"):
                ignored[f".{printable(extension)}"] += 1
                dotted = dotted or (printable(other.name) if is_dotted_image(extension) else "")
        if number % 64 == 0:
            advance(sample.start - done)
            done = sample.start
    found = Found(
        sha256=hashlib.sha256(data).hexdigest(),
        table=np.array(rows, TABLE),
        hashes=np.array([_hash(key) for key in keys], np.uint64),
        keys=keys,
        values=list(values),
        bad=bad[:LISTED],
        bad_count=len(bad),
        ignored=dict(ignored),
        dotted=dotted,
    )
    advance(job.tar.size - done)
    return found


def _samples(place: str, data: mmap.mmap):
    try:
        return group(walk(memoryview(data)))
    except TarDamage as damage:
        raise UserError(
            f"{place}: {damage}; the shard is damaged: get it again, or write it again (no part of it is used)"
        ) from damage


def _read(sample: Sample, data: mmap.mmap, job: Job) -> tuple[Member, int | str | None]:
    """Read the payload and label of a sample. Raises ValueError where it is damaged."""
    codec, plan = CODECS[CODEC], job.plan
    if sample.wrong:
        raise ValueError(sample.wrong)
    member = payload_of(sample, plan.payload)
    label = label_of(sample, memoryview(data), job.label)
    bytes_ = _payload(data, member)
    try:
        codec.decode(bytes_, plan.shape)
    except ValueError as error:
        raise ValueError(_reason(bytes_, plan, error)) from error
    if plan.found_grey and codec.shape(bytes_)[0] != plan.shape[0]:
        raise ValueError(f"it is in colour, and the first sample, {plan.first}, is grey: give --channels 1 or 3")
    return member, label


def _reason(data: Tensor, plan: Plan, error: ValueError) -> str:
    """The reason why a payload cannot be decoded, with its size where that is another."""
    try:
        _, height, width = CODECS[CODEC].shape(data)
    except ValueError as reason:  # it is no image, or one of too many pixels
        return f"it cannot be decoded: {reason}"
    if (height, width) == plan.shape[1:]:
        return f"it cannot be decoded: {error}"
    return (
        f"it is {width}x{height} pixels, and the first sample, {plan.first}, {plan.shape[2]}x{plan.shape[1]}: "
        "all must be of one size; `python -m ragdist.shards SOURCE OUT --size N` writes such shards"
    )


def _payload(data: mmap.mmap, member: Member) -> Tensor:
    import torch

    if not 0 < member.size < 2**32:
        raise ValueError("it is empty" if not member.size else f"it has {member.size:,} bytes")
    return torch.frombuffer(data, dtype=torch.uint8, count=member.size, offset=member.offset)


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
