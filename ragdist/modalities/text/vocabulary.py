"""The tokens of texts: which there are, and the numbers of those of a text.

A text is the tokens' texts put together; the token that pads is "", the one of unknown characters U+FFFD.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

PAD, UNKNOWN = "", "\ufffd"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a data set in the order of their numbers.

    Args:
        tokens: characters, and groups of them where there are merges.
        merges: of byte-pair encoding; empty: a token is a character.
    """

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What the index says of it."""
        merges = {"merges": [list(pair) for pair in self.merges]} if self.merges else {}
        return {"tokens": list(self.tokens), **merges}

    @property
    def row_type(self) -> np.dtype:
        """The type of tokens' numbers."""
        return row_type(len(self.tokens))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @property
    def unknown(self) -> int:
        """The number of the token of unknown characters; -1: there are none."""
        return self._numbers.get(UNKNOWN, -1)

    def lacks(self, text: str) -> bool:
        """Whether a text has characters that are no tokens."""
        return not self._numbers.keys() >= set(text)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's tokens; `unknown` for characters that are none.

        Where there are groups of characters and no token of unknown ones, a -1 at the beginning stands for them all.
        """
        if self.merges:
            from ragdist.modalities.text import byte_pairs

            found = byte_pairs.encoder(self.tokens, self.merges).encode(byte_pairs.whole(text)).ids
            return [-1, *found] if self.unknown < 0 and self.lacks(text) else found
        numbers, unknown = self._numbers, self.unknown
        return [numbers.get(character, unknown) for character in text]

    def text(self, numbers: Sequence[int]) -> str:
        """The text of tokens' numbers."""
        return "".join(map(self.tokens.__getitem__, numbers))


def row_type(tokens: int) -> np.dtype:
    """The type of the numbers of so many tokens."""
    return np.dtype(np.uint8 if tokens <= 256 else "<i2")


def most_frequent(counts: Counter[str], most: int) -> list[str]:
    """The most frequent characters, at most so many, in the order of their code points."""
    return sorted(sorted(counts, key=lambda character: (-counts[character], character))[:most])


def special(counts: Counter[str], kept: Sequence[str], *, padded: bool) -> list[str]:
    """Tokens that stand for something else: before the others, each only where it is needed.

    Args:
        counts: of all characters.
        kept: those that are tokens.
        padded: whether there may be texts to be padded.
    """
    return ([PAD] if padded else []) + ([UNKNOWN] if len(kept) < len(counts) and UNKNOWN not in kept else [])
