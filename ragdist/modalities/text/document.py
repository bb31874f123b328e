"""Documents, and the texts in them that become samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from ragdist.modalities.text.placing import normal
from ragdist.modalities.text.vocabulary import Vocabulary

_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # at the beginning, of others than UTF-8
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
        if not self.text.strip():
            raise ValueError("it holds no text" if self.text else "it is empty")

    @cached_property
    def lines(self) -> Sequence[str]:
        """Lines that are not blank."""
        return [line for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> Sequence[str]:
        """What stands between blank lines; ends of lines in it are characters."""
        return [part.strip("\n") for part in _EMPTY_LINES.split(self.text) if part.strip()]

    def numbers(self, vocabulary: Vocabulary) -> list[int]:
        """The numbers of all tokens."""
        if self._numbers is None:
            self._numbers = vocabulary.encode(self.text)
        return self._numbers

    @property
    def bytes(self) -> int:
        """The size of its text in UTF-8, about."""
        return len(self.text)


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a mark at its beginning.

    Raises:
        ValueError: it is in another encoding.
    """
    encoding = _MARKS.get(bytes(data[:2]), "utf-8-sig")
    try:
        return str(data, encoding)
    except UnicodeDecodeError as error:
        kind = encoding.removesuffix("-sig").upper()
        raise ValueError(
            f"it is no text in {kind} ({error.reason} at byte {error.start:,}): convert it, as with "
            "iconv -f latin1 -t utf-8"
        ) from error
