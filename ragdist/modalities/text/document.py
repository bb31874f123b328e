"""Documents, and the texts in them that become samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ragdist.modalities.text.placing import normal
from ragdist.modalities.text.vocabulary import Vocabulary

# At the beginning, of others than UTF-8; that of UTF-32 begins with that of UTF-16.
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LOOKED_AT = 4096  # bytes, for an encoding that has no mark
_EMPTY_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


class Document:
    """A text of any length: normalized (NFC), with line feeds at the ends of lines.

    Args:
        text: the text.

    Raises:
        ValueError: it is empty.
    """

    def __init__(self, text: str):
        self.text = normal(text)
        self._numbers: list[int] | None = None
        self._ends: np.ndarray | None = None  # of the tokens, in the text
        if not self.text.strip():
            raise ValueError("it holds no text" if self.text else "it is empty")

    @cached_property
    def lines(self) -> Sequence[str]:
        """Lines that are not blank."""
        return [line for line in self.text.split("\n") if line.strip()]

    @property
    def blank_lines(self) -> int:
        """How many lines are left out of `lines`."""
        return self.text.count("\n") + (not self.text.endswith("\n")) - len(self.lines)

    @cached_property
    def paragraphs(self) -> Sequence[str]:
        """What stands between blank lines; ends of lines in it are characters."""
        return [part.strip("\n") for part in _EMPTY_LINES.split(self.text) if part.strip()]

    def numbers(self, vocabulary: Vocabulary) -> list[int]:
        """The numbers of all tokens."""
        if self._numbers is None:
            self._numbers = vocabulary.encode(self.text)
        return self._numbers

    def place(self, vocabulary: Vocabulary, token: int) -> int:
        """Where a token begins in the text, by its place among all, one of which stands for each unknown character."""
        if self._ends is None:
            lengths = np.array([len(characters) for characters in vocabulary.tokens])
            self._ends = np.cumsum(lengths[self.numbers(vocabulary)])
        return int(self._ends[token - 1]) if token else 0

    @property
    def bytes(self) -> int:
        """The size of its text in UTF-8, about."""
        return len(self.text)


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a mark at its beginning.

    Raises:
        ValueError: it is in another encoding.
    """
    encoding = next((name for mark, name in _MARKS.items() if data[: len(mark)] == mark), "utf-8-sig")
    try:
        return str(data, encoding)
    except UnicodeDecodeError as error:
        kind = encoding.removesuffix("-sig").upper()
        raise ValueError(
            f"it is no text in {kind} ({error.reason} at byte {error.start:,}): convert it, as with "
            "iconv -f latin1 -t utf-8"
        ) from error


def of_file(data: bytes) -> str:
    """The text of a file, as `decoded` gives it, unless it seems to be in UTF-16 without a mark.

    Raises:
        ValueError: it is in another encoding.
    """
    text, head = decoded(data), bytes(data[:_LOOKED_AT])
    zeros = [head[first::2].count(0) for first in (0, 1)]
    if "\0" in text and len(head) >= 16 and not min(zeros) and 4 * max(zeros) > len(head):
        name = "utf-16be" if zeros[0] else "utf-16le"
        raise ValueError(
            f"every second byte is 0, as in UTF-16 without a mark: convert it, as with iconv -f {name} -t utf-8"
        )
    return text
