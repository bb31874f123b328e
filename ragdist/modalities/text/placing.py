"""A text on the places of a form: as many token numbers as samples have, cut or padded."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from ragdist.modalities.base import Form
from ragdist.modalities.text.vocabulary import PAD, Vocabulary

CUT, PADDED, UNKNOWN_NOTE = "cut", "padded", "with unknown characters"


def place(text: str, form: Form) -> tuple[np.ndarray, tuple[str, ...]]:
    """The numbers of a text's tokens [T], and what was done to it.

    Raises:
        ValueError: it is shorter than samples are, and the data have no token that pads.
    """
    vocabulary, length, text = of_spec(form), form.shape[0], normal(text)
    numbers = vocabulary.encode(text)
    unknown = has_unknown(vocabulary, numbers[:length], text)
    if vocabulary.unknown < 0:  # there is nothing that could stand for them
        numbers = [number for number in numbers if number >= 0]
    notes = [CUT] if len(numbers) > length else []
    if unknown:
        notes.append(UNKNOWN_NOTE)
    if missing := max(length - len(numbers), 0):
        if PAD not in vocabulary.tokens:
            raise ValueError(f"it has {len(numbers)} of {length} tokens")
        numbers = [*numbers, *[vocabulary.tokens.index(PAD)] * missing]
        notes.append(PADDED)
    return np.array(numbers[:length], vocabulary.row_type), tuple(notes)


def has_unknown(vocabulary: Vocabulary, numbers: Sequence[int], text: str) -> bool:
    """Whether the numbers of a text's first tokens have one of an unknown character; U+FFFD may be a known one."""
    if vocabulary.unknown not in numbers:
        return False
    return vocabulary.unknown < 0 or vocabulary.lacks(text[: len(vocabulary.text(numbers))])


def normal(text: str) -> str:
    """A text in its normal form (NFC), with line feeds at the ends of lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def of_spec(form: Form) -> Vocabulary:
    """The vocabulary that an index says."""
    return _vocabulary(tuple(form.spec["tokens"]), tuple(map(tuple, form.spec.get("merges", ()))))


@cache
def _vocabulary(tokens: tuple[str, ...], merges: tuple[tuple[str, str], ...]) -> Vocabulary:
    return Vocabulary(tokens, merges)
