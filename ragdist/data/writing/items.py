"""A source's items on their way to samples: how they are opened, and the parts of those that are several samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragdist import modalities
from ragdist.data.parallel import Workers
from ragdist.data.sources.source import Source
from ragdist.tools.errors import UserError
from ragdist.tools.progress import Progress

_MOST_OPEN = 8  # items, of which parts are asked for in any order
_ITEMS = 64  # that are looked at in one go


class Opener:
    """Hands over items as `Making.encode` takes them; a context, in which those used last stay open.

    Args:
        read: of the source: an item by its place. Its ``open``, if it has one, gives a file in place of bytes.
        modality: what the items are.
    """

    def __init__(self, read: Callable[[Any], Any], modality: str):
        self.read, self._opened = read, getattr(modalities.making(modality), "open_item", None)
        self._open: dict[Any, tuple[Any, ExitStack]] = {}  # by their places, those used last at the end

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *exception) -> None:
        while self._open:
            self._close_one()

    def __call__(self, place: Any) -> Any:
        """An item. Raises OSError or ValueError where there is none that can be read."""
        if self._opened is None:
            return self.read(place)
        if (found := self._open.pop(place, None)) is None:
            if len(self._open) == _MOST_OPEN:
                self._close_one()
            with ExitStack() as stack:
                item = getattr(self.read, "open", self.read)(place)
                if hasattr(item, "close"):
                    stack.callback(item.close)
                found = stack.enter_context(self._opened(item)), stack.pop_all()
        self._open[place] = found
        return found[0]

    def _close_one(self) -> None:
        self._open.pop(next(iter(self._open)))[1].close()


def fitted(source: Source, sample_options: Any, bad: Callable[[str, Exception], None]) -> Any:
    """The options with what `Making.fit` learned from all items; the same object where there is nothing to learn.

    Args:
        source: of items.
        sample_options: of their modality.
        bad: is told of an item that cannot be read, and may raise; else it is left out.

    Raises:
        UserError: nothing can be learned from what is left.
    """
    making = modalities.making(source.modality)
    if (fit := getattr(making, "fit", None)) is None:
        return sample_options
    items = _Readable(source, bad)
    while True:
        try:
            with making.reading():
                return fit(items, sample_options)
        except ValueError as error:
            if items.at is None:
                raise UserError(f"nothing can be learned from the {making.units}: {error}") from error
            bad(source.names[items.at], error)
            items.left_out.add(items.at)
        finally:
            items.close()


class _Readable:
    """The items that can be read, opened, a pass after the other; ``at`` is the one that was given last."""

    def __init__(self, source: Source, bad: Callable[[str, Exception], None]):
        self.source, self._bad = source, bad
        self.left_out: set[int] = set()
        self.at: int | None = None
        self._passes: list[Iterator[Any]] = []

    def __iter__(self) -> Iterator[Any]:
        self.close()
        self._passes.append(self._pass())
        return self._passes[0]

    def close(self) -> None:
        """Close what the last pass has open."""
        while self._passes:
            self._passes.pop().close()

    def _pass(self) -> Iterator[Any]:
        source = self.source
        units = modalities.making(source.modality).units
        progress = Progress(len(source.places), unit=f"{units} looked at", first=False)
        with closing(progress), Opener(source.read, source.modality) as item_at:
            for number, place in enumerate(source.places):
                if number not in self.left_out:
                    try:
                        item = item_at(place)
                    except (OSError, ValueError) as error:
                        self._bad(source.names[number], error)
                        self.left_out.add(number)
                    else:
                        self.at = number
                        yield item
                progress.advance(1)
                if progress.done < progress.total:  # what is soon done needs no line
                    progress.describe()
        self.at = None


def divided(source: Source, sample_options: Any, processes: int, bad: Callable[[str, Exception], None]) -> Source:
    """The source of all samples, by whose places (item's place, number of the part) are meant.

    Args:
        source: of items.
        sample_options: of their modality.
        processes: that look at them.
        bad: is told of an item that cannot be read, and may raise; else it counts as one sample.

    Returns:
        The source itself where each item is a sample.
    """
    making = modalities.making(source.modality)
    if (parts := getattr(making, "parts", None)) is None or parts(sample_options) is None:
        return source
    count = len(source.places)
    jobs = [[source.places[i] for i in range(start, min(start + _ITEMS, count))] for start in range(0, count, _ITEMS)]
    progress, found = Progress(count, unit="files looked at", first=False), []

    def advance(items: int) -> None:
        if items:
            progress.advance(items)
            progress.describe()

    look = Look(source.read, source.modality, sample_options)
    with closing(progress), Workers(look, min(processes, len(jobs)), advance, torch=False) as workers:
        for number in (number for numbers in workers.in_order(jobs) for number in numbers):
            if isinstance(number, Exception):
                bad(source.names[len(found)], number)
            found.append(1 if isinstance(number, Exception) else number)
    names = Parts(source.names, found, lambda name, part, of: name if of == 1 else f"{name}, {making.unit} {part + 1}")
    places = Parts(source.places, found, lambda place, part, of: (place, part))
    labels = np.repeat(source.labels, found).tolist() if len(source.labels) else ()
    return replace(source, names=names, places=places, labels=labels)


@dataclass(frozen=True)
class Look:
    """Counts the samples in items, by their places."""

    read: Callable[[Any], Any]
    modality: str
    sample_options: Any

    def __call__(self, places: Sequence[Any], advance: Callable[[int], None]) -> list[int | Exception]:
        making, found = modalities.making(self.modality), []
        parts = making.parts(self.sample_options)
        with making.reading():
            for place in places:
                try:
                    with Opener(self.read, self.modality) as item_at:
                        found.append(parts(item_at(place)))
                except (OSError, ValueError) as error:
                    found.append(ValueError(str(error)))
                advance(1)
        return found


class Parts(Sequence):
    """Something of each part of items, which is made when it is asked for: there may be millions.

    Args:
        items: the same of the items.
        counts: how many parts each has.
        of: ``of(item, part, parts)``: what there is of a part, by its number from 0 on, of so many.
    """

    def __init__(self, items: Sequence[Any], counts: Sequence[int], of: Callable[[Any, int, int], Any]):
        self._items, self._of = items, of
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, i: int) -> Any:
        i = range(len(self))[i]
        item = int(np.searchsorted(self._ends, i, side="right"))
        start = int(self._ends[item - 1]) if item else 0
        return self._of(self._items[item], i - start, int(self._ends[item]) - start)

    def __iter__(self) -> Iterator[Any]:
        counts = np.diff(self._ends, prepend=0).tolist()
        return (self._of(item, part, of) for item, of in zip(self._items, counts, strict=True) for part in range(of))
