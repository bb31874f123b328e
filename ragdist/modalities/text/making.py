"""Making of texts: documents are cut into samples, and those written as the numbers of their tokens.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import numpy as np

from ragdist.modalities.base import Encoded, Form
from ragdist.modalities.text import foreign, vocabulary
from ragdist.modalities.text.document import Document, decoded
from ragdist.modalities.text.options import TextIndexOptions, TextOptions
from ragdist.modalities.text.placing import CUT, PADDED, UNKNOWN_NOTE
from ragdist.modalities.text.vocabulary import Vocabulary
from ragdist.modalities.text.vocabulary_of import asked, learn

unit, units = "text", "texts"
payload = ("txt",)
suffixes = frozenset((".txt",))
rank = 2  # texts lie beside pictures and sounds as what they show and say, and beside arrays as notes
guess_arrays = False
spec = frozenset(("tokens", "merges", "payload"))
decoding = {"payload": ""}  # txt: of others' shards; else rows of numbers
options = TextOptions
begin = "--config text"
reading = nullcontext
depends = {"unicodedata": unicodedata.unidata_version}  # of normalizing
index_options = TextIndexOptions
index_fit, describe, loses = foreign.index_fit, foreign.describe, foreign.loses
notes, refusal = foreign.notes, foreign.refusal


@dataclass
class Fitted(TextOptions):
    """The options, and the vocabulary of the data."""

    learned: Vocabulary = field(default_factory=lambda: Vocabulary(()))


def row_type(form: Form) -> np.dtype | None:
    return None if form.spec.get("payload") else vocabulary.row_type(len(form.spec["tokens"]))


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


def parts(options: Fitted) -> Callable[[Document], int] | None:
    return None if options.per == "file" else partial(_count, options=options)


def _count(document: Document, options: Fitted) -> int:
    if options.per == "window":
        length = len(document.numbers(options.learned) if options.learned.merges else document.text)
        return max(length // options.tokens, 1)
    return len(document.lines if options.per == "line" else document.paragraphs)


def _texts(document: Document, options: TextOptions) -> Sequence[str]:
    """The texts of a document, which for windows of tokens are one."""
    if options.per in ("file", "window"):
        return [document.text]
    return document.lines if options.per == "line" else document.paragraphs


def fit(items: Iterable[Document], options: TextOptions) -> Fitted:
    """Learn the alphabet and groups of characters, and whether texts have to be padded."""
    whole = asked(options.vocabulary)[0] == "bpe" or options.per == "window"
    counts, padded = Counter(), False

    def texts() -> Iterable[str]:
        return (text for document in items for text in _texts(document, options))

    for text in texts():
        padded = padded or len(text) < options.tokens
        counts.update(text if whole else text[: options.tokens])
    learned = learn(texts, counts, options.vocabulary, padded=padded)
    return Fitted(options.tokens, options.per, options.vocabulary, learned)


def encode(item: bytes | str | BinaryIO | Document, options: Fitted, part: int = 0) -> Encoded:
    """Encode a text of a document. Raises ValueError for a file that is no text."""
    if not isinstance(item, Document):
        with open_item(item) as document:
            return encode(document, options, part)
    learned, length, notes = options.learned, options.tokens, []
    numbers = _numbers(item, options, part)
    if len(numbers) > length:
        numbers = numbers[:length]
        notes.append(CUT)
    if learned.unknown in numbers:
        notes.append(UNKNOWN_NOTE)
    if len(numbers) < length:
        notes.append(PADDED)
        numbers = [*numbers, *[0] * (length - len(numbers))]
    data = np.array(numbers, learned.row_type).tobytes()
    return Encoded(data, "npy", (length,), learned.spec, tuple(notes))


def _numbers(document: Document, options: Fitted, part: int) -> list[int]:
    """The numbers of a text's tokens."""
    learned, length = options.learned, options.tokens
    start = part * length
    if options.per != "window":
        return learned.encode(_texts(document, options)[part])
    if not learned.merges:
        return learned.encode(document.text[start : start + length])
    return document.numbers(learned)[start : start + length]


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return "holds numbers: texts are files of text"


def in_words(form: Form) -> str:
    return f"{form.shape[0]} tokens of {len(form.spec['tokens'])}"
