"""A part of a source: some of its classes, and a share of its items that can be put aside as held-out data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.source import Source
from ragdist.tools import noise
from ragdist.tools.errors import UserError, nearest

_ORDER = 1  # number of the permutation of stream WRITER; number 0 is the order in which samples are written


@dataclass(frozen=True)
class Picked(Sequence):
    """Items of a sequence by their numbers, made when they are asked for: there may be millions."""

    items: Sequence[Any]
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self.items[k] for k in self.numbers[i].tolist()]
        return self.items[int(self.numbers[i])]


def chosen(name: str, source: Source, options: ShardOptions) -> Source:
    """The part of a source that ``classes``, ``without`` and ``take`` name; the source itself where none does.

    A share is taken of all items, in a random order that their number alone decides, and of that the classes: so the
    shares 0:0.8 of one class and 0.8:1 of all have no item in common.

    Args:
        name: the source's, for messages.
        source: the whole source.
        options: those of writing shards.

    Raises:
        UserError: there are no such classes, the share is none, or nothing is left.
    """
    if not (options.classes or options.without or options.take):
        return source
    count = len(source.places)
    numbers = np.sort(_share(count, options.take)) if options.take else np.arange(count)
    labels, classes = source.labels, list(source.classes)
    if options.classes or options.without:
        kept = _kept(name, source, options)
        label = np.asarray(labels)[numbers]
        place = np.full(len(classes) + 1, -1)  # the last: of samples without a label
        place[kept] = np.arange(len(kept))
        numbers, label = numbers[place[label] >= 0], place[label][place[label] >= 0]
        labels, classes = label.tolist(), [classes[k] for k in kept]
    elif len(labels):
        labels = np.asarray(labels)[numbers].tolist()
    if not len(numbers):
        raise UserError(f"{name}: no sample is left by {_said(options)}")
    names, places = Picked(source.names, numbers), Picked(source.places, numbers)
    return replace(source, names=names, places=places, labels=labels, classes=classes)


def _said(options: ShardOptions) -> str:
    found = ((name, getattr(options, name)) for name in ("classes", "without", "take"))
    return " ".join(f"--{name} {value}" for name, value in found if value)


def _kept(name: str, source: Source, options: ShardOptions) -> list[int]:
    """Numbers of the classes that are kept, in the source's order."""
    if options.classes and options.without:
        raise UserError(f"--classes {options.classes} and --without {options.without}: give one of them")
    option = "classes" if options.classes else "without"
    if not len(source.classes):
        raise UserError(f"--{option} {getattr(options, option)}: {name} has no labels")
    named = class_numbers(getattr(options, option), source.classes, f"--{option}")
    return [k for k in range(len(source.classes)) if (k in named) == (option == "classes")]


def class_numbers(said: str, classes: Sequence[str], option: str) -> set[int]:
    """Numbers of the classes in ``a,b``, by name.

    Raises:
        UserError: there is none of such a name; the line names the ``option``.
    """
    names, places = [part.strip() for part in said.split(",") if part.strip()], {c: k for k, c in enumerate(classes)}
    for each in names:
        if each not in places:
            raise UserError(f"{option} {said}: there is no class '{each}'{nearest(each, classes)}")
    if not names:
        raise UserError(f"{option} '{said}' names no class{nearest('', classes)}")
    return {places[each] for each in names}


def _share(count: int, said: str) -> np.ndarray:
    """Numbers of the items of a share, as 0:0.8, in a random order."""
    found = re.fullmatch(r"(\d*\.?\d+):(\d*\.?\d+)", said.strip())
    first, last = map(float, found.groups()) if found else (0.0, 0.0)
    if not (0 <= first < last <= 1):
        raise UserError(f"--take {said}: it must be a share as 0:0.8, or 0.8:1 for what that leaves")
    order = noise.permutation(0, noise.WRITER, _ORDER, count)
    return order[round(first * count) : round(last * count)]
