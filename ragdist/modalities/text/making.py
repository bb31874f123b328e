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

from ragdist.modalities.base import Encoded, Form, NoOptions
from ragdist.modalities.text import byte_pairs, vocabulary
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
    kind, most = _asked(options)
    counts, padded, length = Counter(), kind == "bpe", options.tokens
    for document in items:
        for text in _texts(document, options):
            padded = padded or len(text) < length
            counts.update(text if options.per == "window" or kind == "bpe" else text[:length])
    if kind == "chars":
        kept = vocabulary.most_frequent(counts, most)
        learned = Vocabulary((*vocabulary.special(counts, kept, padded=padded), *kept))
    else:
        learned = _groups(items, options, counts, most)
    return Fitted(options.tokens, options.per, options.vocabulary, learned)


def _groups(items: Iterable[Document], options: TextOptions, counts: Counter[str], size: int) -> Vocabulary:
    """Learn byte-pair encoding to so many tokens."""
    kept = vocabulary.most_frequent(counts, _CHARACTERS)
    special = vocabulary.special(counts, kept, padded=True)
    if size <= len(special) + len(kept):
        raise UserError(
            f"--vocabulary bpe:{size}: the data's characters alone are {len(special) + len(kept)} tokens: give more"
        )
    texts = (text for document in items for text in _texts(document, options))
    tokens, merges = byte_pairs.learn(texts, size - len(special), kept)
    return Vocabulary((*special, *tokens), tuple(merges))


def _asked(options: TextOptions) -> tuple[str, int]:
    """The kind of vocabulary, and how many characters, or tokens."""
    kind, colon, number = options.vocabulary.partition(":")
    most = MOST_TOKENS - 2
    said = number.isdecimal() and 1 <= int(number) <= most
    if kind not in ("chars", "bpe") or (colon and not said) or (kind == "bpe" and not colon):
        raise UserError(f"--vocabulary {options.vocabulary}: give chars, chars:N or bpe:N, N up to {most:,}")
    return kind, int(number) if colon else _CHARACTERS


def encode(item: bytes | str | BinaryIO | Document, options: Fitted, part: int = 0) -> Encoded:
    """Encode a text of a document. Raises ValueError for a file that is no text."""
    if not isinstance(item, Document):
        with open_item(item) as document:
            return encode(document, options, part)
    learned, length = options.learned, options.tokens
    numbers, unknown = _numbers(item, options, part)
    notes = []
    if len(numbers) > length:
        numbers = numbers[:length]
        notes.append("cut")
    if unknown:
        notes.append("with unknown characters")
    if len(numbers) < length:
        notes.append("padded")
        numbers = [*numbers, *[0] * (length - len(numbers))]
    data = np.array(numbers, learned.row_type).tobytes()
    return Encoded(data, "npy", (length,), learned.spec, tuple(notes))


def _numbers(document: Document, options: Fitted, part: int) -> tuple[list[int], int]:
    """The numbers of a text's tokens, and how many are of unknown characters."""
    learned, length = options.learned, options.tokens
    start = part * length
    if options.per != "window":
        return learned.encode(_texts(document, options)[part])
    if not learned.merges:
        return learned.encode(document.text[start : start + length])
    found = document.numbers(learned)[start : start + length]
    return found, found.count(learned.unknown)


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return "holds numbers: texts are files of text"


def in_words(form: Form) -> str:
    return f"{form.shape[0]} tokens of {len(form.spec['tokens'])}"


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    assert first[1] == other[1], "all texts of a data set are made alike"
    return ""
