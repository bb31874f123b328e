"""Texts of someone else's files, brought to the form of the data that they are compared with."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise

import numpy as np

from ragdist.modalities.base import Form
from ragdist.modalities.text import making
from ragdist.modalities.text.strings import UNKNOWN, marks, whole
from ragdist.tools.errors import UserError


def lines(file: bytes, form: Form) -> list[bytes]:
    """The texts of a file with a text a line, as `judging.write` writes it; empty lines are none."""
    try:
        endings = marks(form)
    except UserError:  # these data have the marks as characters
        endings = {}
    found = _decoded(file.removeprefix(b"\xef\xbb\xbf")).split("\n")
    return [whole(line.removesuffix("\r"), endings).encode() for line in found if line.strip()]


def objects(file: bytes, form: Form) -> list[bytes]:
    """The texts of a file of JSON lines, each an object with the key "text"."""
    found = []
    for number, line in enumerate(_decoded(file).splitlines(), 1):
        try:
            found.append(json.loads(line)["text"].encode())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'line {number} is no JSON object with a string "text"') from error
    return found


def payload(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    """A text as token numbers, cut or padded to the form's length, and what was done to it."""
    kind = making.row_type(form)
    if kind is None:  # members of others' shards are texts themselves
        return file, ()
    text = unicodedata.normalize("NFC", _decoded(file))
    tokens, length = form.spec["tokens"], form.shape[0]
    numbers = {token: number for number, token in enumerate(tokens)}
    pieces = _pieces(text, form.spec.get("merges", ()))
    notes = []
    if any(piece not in numbers for piece in pieces):
        notes.append("with characters that the data do not have")
    other = [numbers[UNKNOWN]] if UNKNOWN in numbers else []
    found = [number for piece in pieces for number in ([numbers[piece]] if piece in numbers else other)]
    if len(found) > length:
        notes.append(f"cut to {length} tokens")
    if len(found) < length and "" not in numbers:
        raise ValueError(f"it has {len(found)} of {length} tokens")
    row = [*found[:length], *([numbers[""]] * (length - len(found)) if len(found) < length else [])]
    return np.array(row, kind).tobytes(), tuple(notes)


def _decoded(file: bytes) -> str:
    try:
        return file.decode()
    except UnicodeDecodeError as error:
        raise ValueError("it is no UTF-8") from error


def _pieces(text: str, merges: list[list[str]]) -> list[str]:
    """Characters, joined by byte-pair encoding's merges, the earliest first."""
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    pieces = list(text)
    while ranks and len(pieces) > 1:
        rank, place = min((ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(pieces)))
        if rank == len(ranks):
            break
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return pieces
