"""The scan of one shard that someone else wrote, and the note with its result."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdist import modalities
from ragdist.config.shards import IndexOptions
from ragdist.data import packed
from ragdist.data.index import NO_LABEL, TABLE
from ragdist.data.indexing.kinds import modality_of, payloads_of
from ragdist.data.indexing.tar_files import Tar, mapped
from ragdist.data.indexing.tar_samples import Payloads, Sample, group, label_of
from ragdist.data.indexing.tar_walk import Member, NoTar, TarDamage, printable, walk
from ragdist.data.parallel import Advance
from ragdist.modalities.base import Form
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

if TYPE_CHECKING:  # a mistake in the command is said before PyTorch is imported
    from torch import Tensor

_PACKED = frozenset((packed.ROWS, packed.LABELS))

LISTED = 20  # bad samples of a shard that are named; the others are counted


@dataclass(frozen=True)
class Plan:
    """What all samples have in common: modality, extension and form."""

    modality: str
    payload: str  # extension; empty: the one payload of each sample
    shape: tuple[int, ...]
    first: str  # shard and key of the sample that says so
    look: bool  # whether each header must be looked at, see `Making.loses`
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> Form:
        """The form of all samples."""
        return Form(self.shape, self.spec)

    @property
    def payloads(self) -> Payloads:
        """The members that are payloads."""
        return payloads_of(modalities.making(self.modality))


@dataclass(frozen=True)
class Job:
    """One shard to scan."""

    tar: Tar
    plan: Plan
    options: IndexOptions
    own: Any  # the modality's, `Making.index_options`
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
    unasked: str  # key of a .json that is called as labels are, while no label was asked for; empty: none
    notes: dict[str, int] = field(default_factory=dict)  # see `Making.notes`: how many samples each is said of

    def save(self, path: Path) -> None:
        """Write the note whole."""
        rest = {k: v for k, v in vars(self).items() if k not in ("table", "hashes")}
        text = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        out = io.BytesIO()
        np.savez(out, table=self.table, hashes=self.hashes, rest=text)
        write_whole(path, out.getvalue())

    @classmethod
    def load(cls, path: Path) -> Found:
        """Read a note that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(table=arrays["table"], hashes=arrays["hashes"], **json.loads(arrays["rest"].tobytes().decode()))


def make_plan(found: list[Tar], scratch: Path, options: IndexOptions, own: Callable[[str], Any]) -> Plan:
    """Find the modality, the extension and the form of the first sample that can be decoded.

    Args:
        found: the shards.
        scratch: folder for a copy of a remote one.
        options: of the command.
        own: gives a modality's own options, by its name.

    Raises:
        UserError: no shard holds one, or nothing tells which of several members a sample is.
    """
    said, why = options.payload.lower().lstrip("."), ""
    for tar in found:
        with mapped(tar, scratch, keep=True) as data:  # the tar's own job needs it, too
            samples = _samples(tar.place, data)[0]
            modality = options.modality or modality_of(tar.place, samples, said)
            making, mine = modalities.making(modality), own(modality)
            payloads = payloads_of(making)
            chosen = said or payloads.choose(samples)
            if chosen is None:
                raise UserError(
                    f"{tar.place}: some samples have several {making.units}, and there is no extension that all have: "
                    f"say which to read with --payload, such as --payload {making.payload[0]}"
                )
            if fit := getattr(making, "index_fit", None):
                mine = _fitted(fit, found, scratch, payloads, chosen, mine)
            for sample in samples:
                try:
                    member = payloads.of(sample, chosen)
                    form = making.describe(_bytes(data, member), mine)
                    modalities.training(modality).decode(_payload(data, member), form)
                except ValueError as error:
                    why = why or f"the first is {printable(sample.key)} of {tar.place}: {error}"
                    continue
                modalities.check_said(modality, form.spec)
                first, look = f"{printable(sample.key)} of {tar.place}", making.loses(form, mine)
                return Plan(modality, chosen, form.shape, first, look, dict(form.spec))
    raise UserError(f"no sample can be read: {why or 'there is none in the shards'}")


def _fitted(
    fit: Callable[[Iterable[bytes], Any], Any],
    found: list[Tar],
    scratch: Path,
    payloads: Payloads,
    chosen: str,
    options: Any,
) -> Any:
    """The modality's options with what `Making.index_fit` learned of the payloads of all shards."""

    class Members:
        def __iter__(self) -> Iterator[bytes]:
            for tar in found:
                with mapped(tar, scratch, keep=True) as data:
                    for sample in _samples(tar.place, data)[0]:
                        with suppress(ValueError):  # what is wrong with it is said when it is read
                            yield bytes(_bytes(data, payloads.of(sample, chosen)))

    try:
        return fit(Members(), options)
    except ValueError as error:
        raise UserError(str(error)) from error


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
    noted, notes_of = Counter(), getattr(modalities.making(job.plan.modality), "notes", lambda payload, form: ())
    rows, keys, bad, values, dotted, done = [], [], [], {}, "", 0
    payloads = job.plan.payloads
    for number, sample in enumerate(samples):
        try:
            member, label = _read(sample, data, job, payloads)
            notes = notes_of(_bytes(data, member), job.plan.form)
        except ValueError as error:
            line = f"{job.tar.place}: sample {printable(sample.key)} at byte {sample.start:,}: {error}"
            if job.options.bad != "skip":
                raise UserError(f"{line}; mend the shard, or leave such samples out with --bad skip") from error
            bad.append(line)
            continue
        crc = zlib.crc32(memoryview(data)[member.offset : member.offset + member.size])
        number_of = NO_LABEL if label is None else values.setdefault(label, len(values))
        noted.update(notes)
        rows.append((member.offset, member.size, crc, number_of))
        keys.append(sample.key)
        for extension, other in sample.members.items():
            if other is not member and extension != ("json" if job.options.label else "cls"):
                ignored[f".{printable(extension)}"] += 1
                dotted = dotted or (printable(other.name) if payloads.is_dotted(extension) else "")
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
        unasked=_unasked(samples, data, job.options),
        notes=dict(noted),
    )
    advance(job.tar.size - done)
    return found


def _unasked(samples: list[Sample], data: mmap.mmap, options: IndexOptions) -> str:
    """A key of the first sample's .json that is called as labels are, where no sample has a label; empty: none."""
    member = samples[0].members.get("json") if samples else None
    if options.label or member is None or "cls" in samples[0].members:
        return ""
    try:
        content = json.loads(bytes(data[member.offset : member.offset + min(member.size, 1 << 20)]))
    except (ValueError, RecursionError):
        return ""
    known = ("label", "class", "labels", "class_id", "target", "category") if isinstance(content, dict) else ()
    return next((key for key in known if key in content), "")


def _samples(place: str, data: mmap.mmap) -> tuple[list[Sample], Counter]:
    """The samples of a shard, and how many members are of none, by kind."""
    passed = Counter()
    try:
        samples, keyless = group(walk(memoryview(data), lambda kind, name: passed.update((kind,))))
    except NoTar as damage:
        raise UserError(f"{place} is no shard: {damage}") from damage
    except TarDamage as damage:
        raise UserError(
            f"{place}: {damage}; the shard is damaged: get it again, or write it again (no part of it is used)"
        ) from damage
    if any(packed.ROWS in sample.members and sample.members.keys() <= _PACKED for sample in samples):
        raise UserError(
            f"{place} holds packed samples, many in a member (.{packed.ROWS}), which only the index.json that was "
            "written beside it can tell apart: copy that, or write the shards again"
        )
    return samples, keyless + passed


def _read(sample: Sample, data: mmap.mmap, job: Job, payloads: Payloads) -> tuple[Member, int | str | None]:
    """Read the payload and label of a sample. Raises ValueError where it is damaged."""
    plan = job.plan
    if sample.wrong:
        raise ValueError(sample.wrong)
    member = payloads.of(sample, plan.payload)
    label = label_of(sample, memoryview(data), job.options.label)
    payload = _payload(data, member)
    try:
        modalities.training(plan.modality).decode(payload, plan.form)
    except ValueError as error:
        raise ValueError(_other_form(data, member, job) or f"it cannot be decoded: {error}") from error
    if plan.look and (reason := _other_form(data, member, job)):
        raise ValueError(reason)
    return member, label


def _other_form(data: mmap.mmap, member: Member, job: Job) -> str:
    """The reason why a payload is of another form than the first sample; empty: it is not."""
    making = modalities.making(job.plan.modality)
    try:
        form = making.describe(_bytes(data, member), job.own)
    except ValueError as reason:  # it is no sample, or one that is too large
        return f"it cannot be decoded: {reason}"
    return making.refusal((job.plan.first, job.plan.form), ("", form), writing=False)


def _bytes(data: mmap.mmap, member: Member) -> memoryview:
    if not 0 < member.size < 2**32:
        raise ValueError("it is empty" if not member.size else f"it has {member.size:,} bytes")
    return memoryview(data)[member.offset : member.offset + member.size]


def _payload(data: mmap.mmap, member: Member) -> Tensor:
    import torch

    _bytes(data, member)
    return torch.frombuffer(data, dtype=torch.uint8, count=member.size, offset=member.offset)


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
