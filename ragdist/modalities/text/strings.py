"""Stored texts as strings, and strings on one line of a file, a terminal or a page."""

from __future__ import annotations

from typing import Any

import numpy as np

from ragdist.modalities.base import Form
from ragdist.modalities.text.ngrams import END
from ragdist.modalities.text.vocabulary import UNKNOWN
from ragdist.tools.errors import UserError

# Characters that end a line, and what stands for them on one: RETURN SYMBOL and SYMBOL FOR CARRIAGE RETURN.
_MARKS = {"\n": "\u23ce", "\r": "\u240d"}

_JOINERS = "\u200c\u200d"  # of letters, as in Persian, and of emoji: no printable characters to Python


def strings(samples: Any, form: Form) -> list[str]:
    """The texts of token numbers [n, T], an array or tensor."""
    tokens = np.array(form.spec["tokens"], object)
    return ["".join(row) for row in tokens[_array(samples)].tolist()]


def _array(samples: Any) -> np.ndarray:
    return np.asarray(samples.cpu() if hasattr(samples, "cpu") else samples, np.int64)


def scored(samples: Any, form: Form) -> list[str]:
    """The texts of token numbers [n, T], with the symbol `END` behind those that end before their windows do."""
    found, tokens = strings(samples, form), form.spec["tokens"]
    if "" not in tokens:
        return found
    ended = _array(samples)[:, -1] == tokens.index("")
    return [text + END if end else text for text, end in zip(found, ended.tolist(), strict=True)]


def characters(form: Form) -> int:
    """How many characters texts of a form may have; unknown ones are one more."""
    return len(set("".join(form.spec["tokens"])))


def marks(form: Form) -> dict[str, str]:
    """What stands on one line for the line endings that texts of a form may have.

    Raises:
        UserError: a text may have the mark itself, too.
    """
    there = set("".join(form.spec["tokens"]))
    found = {ending: mark for ending, mark in _MARKS.items() if ending in there}
    if taken := there & set(found.values()):
        raise UserError(
            f"line endings are written as {' and '.join(sorted(taken))}, which the texts have, too: name a .jsonl"
        )
    return found


def one_line(text: str, marks: dict[str, str]) -> str:
    """A text with marks for its line endings."""
    for ending, mark in marks.items():
        text = text.replace(ending, mark)
    return text


def whole(line: str, marks: dict[str, str]) -> str:
    """The text of a line that `one_line` made."""
    for ending, mark in marks.items():
        line = line.replace(mark, ending)
    return line


def shown(text: str) -> str:
    """A text on one line that any terminal, page or font takes: marks for control characters."""
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if character in _MARKS:
        return _MARKS[character]
    if character.isspace():
        return " "
    return UNKNOWN if ord(character) >= 0x20 else chr(0x2400 + ord(character))  # SYMBOL FOR NULL, and so on
