"""The tokens of texts: which there are, and the numbers of those of a text.

A text is the tokens' texts put together; the token that pads is "", the one of unknown characters U+FFFD.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

PAD, UNKNOWN = "", "\ufffd"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a data set, each a character, in the order of their numbers."""

    tokens: tuple[str, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """What the index says of it."""
        return {"tokens": list(self.tokens)}

    @property
    def row_type(self) -> np.dtype:
        """The type of tokens' numbers."""
        return row_type(len(self.tokens))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> tuple[list[int], int]:
        """The numbers of a text's tokens, and how many of its characters are unknown."""
        numbers = self._numbers
        try:
            return [numbers[character] for character in text], 0
        except KeyError:
            unknown = numbers[UNKNOWN]
            found = [numbers.get(character, unknown) for character in text]
            return found, sum(character not in numbers for character in text)


def row_type(tokens: int) -> np.dtype:
    """The type of the numbers of so many tokens."""
    return np.dtype(np.uint8 if tokens <= 256 else "<i2")


def join(tokens: list[str], numbers: Iterable[int]) -> str:
    """The text of tokens, by their numbers."""
    return "".join([tokens[number] for number in numbers])


def of_characters(counts: Counter[str], most: int, *, padded: bool) -> Vocabulary:
    """The vocabulary of the most frequent characters.

    Args:
        counts: of each character.
        most: characters, at most; of the others an unknown one takes the place.
        padded: whether there are texts to be padded.
    """
    kept = sorted(counts, key=lambda character: (-counts[character], character))[:most]
    special = ([PAD] if padded else []) + ([UNKNOWN] if len(kept) < len(counts) and UNKNOWN not in kept else [])
    return Vocabulary((*special, *sorted(kept)))
