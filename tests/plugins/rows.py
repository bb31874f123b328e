"""Rows of eight bytes: a modality whose samples are packed, and which learns from all of them. Give it as ``--plugin``.

Stored is each byte's place in the alphabet, which are all bytes that the data have. A row that begins with 255 is none.
"""

import os
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from ragdist.modalities import MODALITIES, base, rows
from ragdist.modalities.base import Encoded

LENGTH, BAD = 8, 255
PAUSE = float(os.environ.get("ROWS_PAUSE", 0))  # seconds that encoding each takes more
BACKWARDS = "ROWS_BACKWARDS" in os.environ  # the alphabet


@dataclass
class RowOptions:
    """How rows become samples."""

    turn: int = 0
    """places that the alphabet is turned by"""


@dataclass
class Learned:
    """The options of rows, and what is known of all of them."""

    alphabet: list[int]
    places: bytes = field(init=False)  # of each byte in the alphabet

    def __post_init__(self):
        self.places = bytes(self.alphabet.index(value) if value in self.alphabet else BAD for value in range(256))


class Making(base.Making):
    unit, units = "row", "rows"
    payload = ("row",)
    suffixes = frozenset((".row",))
    spec = frozenset(("alphabet",))
    options = RowOptions
    begin = "--config cifar10"
    guess_arrays = False
    passes: list[int] = []  # noqa: RUF012 -- items of each, for tests

    def row_type(self, form):
        return np.dtype(np.uint8)

    def fit(self, items, options):
        """In two passes: the first one finds the bytes, the second one that these are all."""
        found = [set(), set()]
        for here in found:
            self.passes.append(0)
            for item in items:
                self.passes[-1] += 1
                if not len(item):
                    raise ValueError("it is empty")
                if item[0] != BAD:
                    here |= set(bytes(item))
        if not found[0]:
            raise ValueError("there are no bytes")
        assert found[0] == found[1]
        alphabet = sorted(found[0], reverse=BACKWARDS)
        return Learned(alphabet[options.turn :] + alphabet[: options.turn])

    def encode(self, item, options):
        time.sleep(PAUSE)
        if len(item) != LENGTH or item[0] == BAD:
            raise ValueError("it is no row")
        return Encoded(bytes(item).translate(options.places), "npy", (LENGTH,), {"alphabet": options.alphabet})

    def check_array(self, shape, dtype):
        return "" if (len(shape), shape[-1], dtype) == (2, LENGTH, np.uint8) else f"is no uint8 [N, {LENGTH}]"

    def in_words(self, form):
        return f"rows of {len(form.spec['alphabet'])} bytes"


class Training(base.Training):
    head, families = "identity", ("mlp",)

    def decode(self, data, form):
        return self.decode_all([memoryview(data.numpy())], form)[0]

    def decode_all(self, payloads, form):
        found = rows.decode_all(payloads, np.dtype(np.uint8), form.shape)
        if (found >= len(form.spec["alphabet"])).any():
            raise ValueError("a number beyond the alphabet")
        return found

    def blank(self, count, form):
        return torch.zeros(count, *form.shape, dtype=torch.uint8)

    def network_shape(self, form):
        return (1, *form.shape)


class Judging(base.Judging):
    features = ("pixels",)


class Rows:
    making, training, judging = Making(), Training(), Judging()


MODALITIES.add("rows", Rows)
