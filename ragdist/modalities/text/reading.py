"""Texts of someone else's files, brought to the form of the data that they are compared with."""

from __future__ import annotations

import json

from ragdist.modalities.base import Form
from ragdist.modalities.text import making
from ragdist.modalities.text.document import decoded
from ragdist.modalities.text.placing import CUT, UNKNOWN_NOTE, place
from ragdist.modalities.text.strings import marks, whole
from ragdist.tools.errors import UserError


def lines(file: bytes, form: Form) -> list[bytes | None]:
    """The texts of a file with a text a line, as `judging.write` writes it; None for blank lines between them."""
    try:
        endings = marks(form)
    except UserError:  # these data have the marks as characters
        endings = {}
    found = decoded(file).removesuffix("\n").split("\n")
    return [whole(line.removesuffix("\r"), endings).encode() if line.strip() else None for line in found]


def objects(file: bytes, form: Form) -> list[bytes]:
    """The texts of a file of JSON lines, each an object with the key "text"."""
    found = []
    for number, line in enumerate(decoded(file).split("\n"), 1):  # other ends of lines are characters to JSON
        if not line.strip():
            continue
        try:
            found.append(json.loads(line)["text"].encode())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'line {number} is no JSON object with a string "text"') from error
    return found


def payload(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    """A text as token numbers, cut or padded to the form's length, and what was done to it."""
    if making.row_type(form) is None:  # members of others' shards are texts themselves
        return file, ()
    row, notes = place(decoded(file), form)
    said = {CUT: f"cut to {form.shape[0]} tokens", UNKNOWN_NOTE: "with characters that the data do not have"}
    return row.tobytes(), tuple(said[note] for note in notes if note in said)
