"""Grouping of a tar's members into samples by WebDataset's rules."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ragdist.data import labels
from ragdist.data.indexing.tar_walk import Buffer, Member, printable

KEYLESS = "without a key"
_META = re.compile(r"__[^/]*__($|/)")  # members that webdataset keeps for itself
_LARGEST_JSON = 1 << 24  # bytes


def key_and_extension(name: str) -> tuple[str, str] | None:
    """Split ``a/b.c/00.seg.PNG`` into (``a/b.c/00``, ``seg.png``), at the first dot of the base name.

    None where there is no key: no dot, a name that starts with one, or a name WebDataset keeps for itself.
    """
    folder, slash, base = name.rpartition("/")
    key, dot, extension = base.partition(".")
    if not key or not dot or _META.match(name):
        return None
    return folder + slash + key, extension.lower()


@dataclass(slots=True)
class Sample:
    """A sample: the members with one key."""

    key: str
    start: int  # first byte of its first member's header
    members: dict[str, Member] = field(default_factory=dict)  # by extension
    wrong: str = ""  # why no reader gets it as it was meant


def group(members: Iterable[Member]) -> tuple[list[Sample], Counter]:
    """Group members into samples, in order; members without a key are counted under KEYLESS."""
    samples: dict[str, Sample] = {}
    keyless: Counter = Counter()
    last = None
    for member in members:
        if (split := key_and_extension(member.name)) is None:
            keyless[KEYLESS] += 1
            continue
        key, extension = split
        sample = samples.get(key)
        if sample is None:
            sample = samples[key] = Sample(key, member.header)
        elif extension in sample.members:
            sample.wrong = f"its key comes twice, again at byte {member.header:,} (.{printable(extension)})"
        elif key != last and not sample.wrong:
            sample.wrong = (
                f"its members are not next to each other (.{printable(extension)} is at byte {member.header:,}), "
                "so that readers take them for two samples"
            )
        sample.members.setdefault(extension, member)
        last = key
    return list(samples.values()), keyless


class Payloads:
    """The members that are payloads, by their extensions.

    Args:
        kinds: extensions of the modality's payloads, the usual ones first.
        unit, units: what a sample is, for messages: "image", "images".
        unread: extensions of such samples that are not read.
        convert: how these are converted, for messages.
    """

    def __init__(
        self, kinds: tuple[str, ...], unit: str, units: str, unread: frozenset[str] = frozenset(), convert: str = ""
    ):
        self.kinds, self.unit, self.units, self.unread, self.convert = kinds, unit, units, unread, convert

    def choose(self, samples: list[Sample]) -> str | None:
        """Choose the extension to read: empty where no sample has more than one; None where nothing is fit."""
        having = [found for sample in samples if (found := [e for e in self.kinds if e in sample.members])]
        if all(len(found) == 1 for found in having):
            return ""
        return next((e for e in self.kinds if all(e in found for found in having)), None)

    def of(self, sample: Sample, payload: str) -> Member:
        """The payload member of a sample. Raises ValueError where there is none, or more than one."""
        if payload in sample.members:
            return sample.members[payload]
        has = _few([f".{printable(extension)}" for extension in sample.members])
        if payload:
            raise ValueError(f"it has no .{payload}, only {has}")
        found = [extension for extension in self.kinds if extension in sample.members]
        if len(found) == 1:
            return sample.members[found[0]]
        if found:
            raise ValueError(f"it has several {self.units} ({has}): say which with --payload {found[0]}")
        dotted = [extension for extension in sample.members if self.is_dotted(extension)]
        if dotted:
            raise ValueError(
                f"it has no {self.unit} but {has}: the key ends at the first dot of a name; "
                f"rename the files, or give --payload {printable(dotted[0])[:60]} if that is what it is called"
            )
        raise ValueError(f"it has no {self.unit}, only {has}{self._advice(sample)}")

    def _advice(self, sample: Sample) -> str:
        unread = next((extension for extension in sample.members if extension in self.unread), None)
        how = f", {self.convert}" if self.convert else ""
        return "" if unread is None else f"; .{unread} is of a kind that is not read here: convert it first{how}"

    def is_dotted(self, extension: str) -> bool:
        """Whether a file's name has dots before the ending of a payload, which may not be meant as an extension."""
        return "." in extension and extension.rpartition(".")[2] in self.kinds


def _few(words: list[str]) -> str:
    more = f" and {len(words) - 5:,} more" if len(words) > 5 else ""
    return ", ".join(word[:60] for word in words[:5]) + more


def label_of(sample: Sample, data: Buffer, key: str) -> int | str | None:
    """Read a sample's label: from .json at ``key`` where that is given, else from .cls; None: no label.

    Raises:
        ValueError: there is one that cannot be used.
    """
    member = sample.members.get("json" if key else "cls")
    if member is None:
        return None
    content = bytes(data[member.offset : member.offset + min(member.size, _LARGEST_JSON)])
    if not key:
        try:
            value = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError("its .cls is no text") from error
        return _checked(value, ".cls")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its .json cannot be read: {str(error).splitlines()[0]}") from error
    return _checked(_lookup(value, key), f"'{key}'")


def _lookup(value, key: str):
    """Look up ``a.b`` in {"a": {"b": value}} or {"a.b": value}; None where it is missing."""
    if not isinstance(value, dict):
        return None
    if key in value:
        return value[key]
    first, _, rest = key.partition(".")
    return _lookup(value.get(first), rest) if rest else None


def _checked(value, where: str) -> int | str | None:
    try:
        return labels.label_of(value)
    except ValueError as error:
        raise ValueError(f"its label {where} is {error}") from error
