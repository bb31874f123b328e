"""Making of texts: documents are cut into samples, and those written as the numbers of their tokens.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import numpy as np

from ragdist.modalities.base import Encoded, Form, NoOptions
from ragdist.modalities.text import vocabulary
from ragdist.modalities.text.document import Document, decoded
from ragdist.modalities.text.options import MOST_TOKENS, TextOptions
from ragdist.modalities.text.vocabulary import Vocabulary
from ragdist.tools.errors import UserError

unit, units = "text", "texts"
payload = ("txt",)
suffixes = frozenset((".txt",))
rank = 2  # texts lie beside pictures and sounds as what they show and say, and beside arrays as notes
guess_arrays = False
spec = frozenset(("tokens", "merges"))
options = TextOptions
begin = "--config text"
reading = nullcontext
depends = {"unicodedata": unicodedata.unidata_version}  # of normalizing
index_options = NoOptions

_CHARACTERS = 254  # at most, unless the user says otherwise: with two special tokens they fit a byte


@dataclass
class Fitted(TextOptions):
    """The options, and the vocabulary of the data."""

    learned: Vocabulary = field(default_factory=lambda: Vocabulary(()))


def row_type(form: Form) -> np.dtype | None:
    return vocabulary.row_type(len(form.spec["tokens"]))


# Documents.


@contextmanager
def open_item(item: bytes | str | BinaryIO | Document) -> Iterator[Document]:
    """Open a document: a file, given as bytes or open, or a text."""
    if isinstance(item, Document):
        yield item
        return
    if not isinstance(item, (str, bytes)):
        item = item.read()
    yield Document(item if isinstance(item, str) else decoded(item))


def parts(options: TextOptions) -> Callable[[Document], int] | None:
    return None if options.per == "file" else partial(_count, options=options)


def _count(document: Document, options: TextOptions) -> int:
    if options.per == "window":
        return max(len(document.text) // options.tokens, 1)
    return len(document.lines if options.per == "line" else document.paragraphs)


def _part(document: Document, options: TextOptions, number: int) -> str:
    if options.per == "file":
        return document.text
    if options.per == "window":
        return document.text[number * options.tokens : (number + 1) * options.tokens]
    return (document.lines if options.per == "line" else document.paragraphs)[number]


def fit(items: Iterable[Document], options: TextOptions) -> Fitted:
    """Learn the alphabet, and whether texts have to be padded."""
    most = _most_characters(options)
    counts, padded = Counter(), False
    for document in items:
        for number in range(_count(document, options)):
            text = _part(document, options, number)
            padded = padded or len(text) < options.tokens
            counts.update(text[: options.tokens])
    learned = vocabulary.of_characters(counts, most, padded=padded)
    return Fitted(options.tokens, options.per, options.vocabulary, learned)


def _most_characters(options: TextOptions) -> int:
    kind, colon, number = options.vocabulary.partition(":")
    if kind != "chars" or (colon and not (number.isdecimal() and 1 <= int(number) <= MOST_TOKENS - 2)):
        raise UserError(
            f"--vocabulary {options.vocabulary}: give chars, or chars:N with a number up to {MOST_TOKENS - 2:,}"
        )
    return int(number) if colon else _CHARACTERS


def encode(item: bytes | str | BinaryIO | Document, options: Fitted, part: int = 0) -> Encoded:
    """Encode a text of a document. Raises ValueError for a file that is no text."""
    if not isinstance(item, Document):
        with open_item(item) as document:
            return encode(document, options, part)
    learned, length = options.learned, options.tokens
    text, notes = _part(item, options, part), []
    if len(text) > length:
        text = text[:length]
        notes.append("cut")
    numbers, unknown = learned.encode(text)
    if unknown:
        notes.append("with unknown characters")
    if len(numbers) < length:
        notes.append("padded")
        numbers += [0] * (length - len(numbers))
    data = np.array(numbers, learned.row_type).tobytes()
    return Encoded(data, "npy", (length,), learned.spec, tuple(notes))


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return "holds numbers: texts are files of text"


def in_words(form: Form) -> str:
    return f"{form.shape[0]} tokens of {len(form.spec['tokens'])}"


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    assert first[1] == other[1], "all texts of a data set are made alike"
    return ""
