"""The interface of sources: samples' files by number, which any process can read."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragdist.tools.words import printable


@dataclass
class Source:
    """Items by number, each of which becomes a sample, in an order that depends on nothing but the source.

    ``read`` and the items of ``places`` are small and picklable: the processes that write shards get
    ``read`` once, and with each piece of work its items' places, so that none of them lists the source again.
    """

    names: Sequence[str]  # for messages: a path inside the source
    places: Sequence[Any]  # where ``read`` finds each item
    read: Callable[[Any], Any]  # an item for `Making.encode` by its place; raises OSError or ValueError
    modality: str  # what its items are: a name in `modalities.MODALITIES`
    identity: str  # changes when the content does: what half-written shards are compared by
    labels: Sequence[int] = ()  # class numbers; empty: none
    classes: Sequence[str] = ()  # their names
    ignored: list[str] = field(default_factory=list)  # files that are no samples by their names
    remarks: list[str] = field(default_factory=list)  # how it was understood and what was not read, for the summary


class Remarks:
    """Remarks on a source for the summary: sentences, and counts of what is alike with an example."""

    def __init__(self):
        self._said: dict[str, None] = {}
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        self._said[sentence] = None

    def count(self, what: str, name: str) -> None:
        """Count one more of what is alike, in the plural, called ``name``."""
        self._counts[what] += 1
        self._first.setdefault(what, name)

    def lines(self) -> list[str]:
        """All remarks, each one printable line."""
        counts = (f"{what}: {n:,}, such as {self._first[what]}" for what, n in self._counts.most_common())
        return [printable(line) for line in (*self._said, *counts)]


@dataclass(frozen=True)
class Numbered(Sequence):
    """The names ``image 0``, ``image 1``, ... of items that have none, with another word for other items."""

    count: int
    word: str = "image"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [f"{self.word} {k}" for k in range(self.count)[i]]
        return f"{self.word} {range(self.count)[i]}"
