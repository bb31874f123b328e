"""Rows of eight small numbers: a modality whose samples are packed, and learned from first. Give it as ``--plugin``.

A sample is eight bytes. Stored is each one's place in the alphabet, which are all bytes that the data have. One that
begins with 255 is none.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ragdist.modalities import MODALITIES, base, rows
from ragdist.modalities.base import Encoded

LENGTH, BAD = 8, 255


@dataclass
class RowOptions:
    """How rows become samples."""

    turn: int = 0
    """places that the alphabet is turned by"""
    alphabet: tuple[int, ...] | None = None
    """learned; no option of a command"""


@dataclass
class Options:
    """What a command may say of them."""

    turn: int = 0
    """places that the alphabet is turned by"""


class Making(base.Making):
    unit, units = "row", "rows"
    payload = ("row",)
    suffixes = frozenset((".row",))
    spec = frozenset(("alphabet",))
    options = Options
    begin = "--config cifar10"
    guess_arrays = False

    def row_type(self, form):
        return np.dtype(np.uint8)

    def fit(self, items, options):
        """In two passes: the first one finds the bytes, the second one that they are all."""
        found = {value for item in items if item[0] != BAD for value in bytes(item)}
        if not found or any(set(bytes(item)) - found for item in items if item[0] != BAD):
            raise ValueError("there are no bytes")
        alphabet = sorted(found)
        return RowOptions(options.turn, tuple(alphabet[options.turn :] + alphabet[: options.turn]))

    def encode(self, item, options):
        if len(item) != LENGTH or item[0] == BAD:
            raise ValueError(f"{len(item)} bytes that begin with {item[0]}")
        data = bytes(options.alphabet.index(value) for value in bytes(item))
        return Encoded(data, "npy", (LENGTH,), {"alphabet": list(options.alphabet)})

    def check_array(self, shape, dtype):
        return "" if (len(shape), shape[-1], dtype) == (2, LENGTH, np.uint8) else f"is no uint8 [N, {LENGTH}]"

    def in_words(self, form):
        return f"rows of {len(form.spec['alphabet'])} bytes"


class Training(base.Training):
    head = "identity"
    families = ("mlp",)

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

    def to_network(self, samples, form):
        return samples.unsqueeze(1).float()

    def from_network(self, samples, form):
        return samples.squeeze(1).round().clamp(0, len(form.spec["alphabet"]) - 1).to(torch.uint8)

    def points(self, samples, pool):
        return samples.flatten(1)


class Judging(base.Judging):
    features = ("pixels",)


class Rows:
    making, training, judging = Making(), Training(), Judging()


MODALITIES.add("rows", Rows)
