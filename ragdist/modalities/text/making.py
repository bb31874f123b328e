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
from ragdist.modalities.text.document import Document, of_file
from ragdist.modalities.text.options import TextIndexOptions, TextOptions
from ragdist.modalities.text.placing import CUT, PADDED, UNKNOWN_NOTE, has_unknown
from ragdist.modalities.text.vocabulary import PAD, Vocabulary
from ragdist.modalities.text.vocabulary_of import asked, learn

REST = "before a rest of a file that fills no window, left out"
_CHANGED = "it was changed meanwhile, after all were looked at"

unit, units = "text", "texts"
payload = ("txt",)
suffixes = frozenset((".txt",))
rank = 2  # texts lie beside pictures and sounds as what they show and say, and beside arrays as notes
guess_arrays = False
spec = frozenset(("tokens", "merges", "payload"))
decoding = {"payload": ""}  # txt: of others' shards; else rows of numbers
options = TextOptions
begin = "--config text"
make_alike = "--vocabulary of:{}"
reading = nullcontext
depends = {"unicodedata": unicodedata.unidata_version}  # of normalizing
index_options = TextIndexOptions
index_fit, describe, loses = foreign.index_fit, foreign.describe, foreign.loses
notes, refusal = foreign.notes, foreign.refusal


@dataclass
class Fitted(TextOptions):
    """The options, the vocabulary of the data, and how many lines are none."""

    learned: Vocabulary = field(default_factory=lambda: Vocabulary(()))
    blank_lines: int = 0


def remarks(options: Fitted) -> list[str]:
    return [f"blank lines, left out: {options.blank_lines:,}"] if options.blank_lines else []


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
    yield Document(item if isinstance(item, str) else of_file(item))


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
    counts, padded, blank = Counter(), False, 0

    def texts() -> Iterable[str]:
        return (text for document in items for text in _texts(document, options))

    for document in items:
        blank += document.blank_lines if options.per == "line" else 0
        for text in _texts(document, options):
            padded = padded or len(text) < options.tokens
            counts.update(text if whole else text[: options.tokens])
    learned = learn(texts, counts, options.vocabulary, padded=padded)
    return Fitted(options.tokens, options.per, options.vocabulary, learned, blank)


def encode(item: bytes | str | BinaryIO | Document, options: Fitted, part: int = 0) -> Encoded:
    """Encode a text of a document. Raises ValueError for a file that is no text."""
    if not isinstance(item, Document):
        with open_item(item) as document:
            return encode(document, options, part)
    learned, length, notes = options.learned, options.tokens, []
    if options.per == "window":
        text, numbers, rest = _window(item, options, part)
        notes += [REST] if rest else []
    else:
        if part >= len(texts := _texts(item, options)):
            raise ValueError(f"it has {len(texts):,} texts; {_CHANGED}")
        text, numbers = texts[part], learned.encode(texts[part])
    if len(numbers) > length:
        numbers = numbers[:length]
        notes.append(CUT)
    why = "" if asked(options.vocabulary)[0] == "of" else f"; {_CHANGED}"
    if -1 in numbers:
        raise ValueError(f"it has characters that the vocabulary lacks{why}")
    if len(numbers) < length and PAD not in learned.tokens[:1]:
        raise ValueError(f"it has {len(numbers)} of {length} tokens, and none is there that pads{why}")
    if has_unknown(learned, numbers, text):
        notes.append(UNKNOWN_NOTE)
    if len(numbers) < length:
        notes.append(PADDED)
        numbers = [*numbers, *[0] * (length - len(numbers))]
    data = np.array(numbers, learned.row_type).tobytes()
    return Encoded(data, "npy", (length,), learned.spec, tuple(notes))


def _window(document: Document, options: Fitted, part: int) -> tuple[str, list[int], bool]:
    """The text from a window on, needed for unknown tokens alone; its tokens' numbers; whether it is the last before a
    rest."""
    learned, length = options.learned, options.tokens
    start, stop = part * length, (part + 1) * length
    if learned.merges:
        every = document.numbers(learned)
        numbers, total = every[start:stop], len(every)
        text = document.text[document.place(learned, start) :] if learned.unknown in numbers else ""
    else:
        text, total = document.text[start:stop], len(document.text)
        numbers = learned.encode(text)
    return text, numbers, stop < total < stop + length


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return "holds numbers: texts are files of text"


def in_words(form: Form) -> str:
    return f"{form.shape[0]} tokens of {len(form.spec['tokens'])}"
