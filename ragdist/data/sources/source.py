"""The interface of sources: samples' files by number, which any process can read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


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
