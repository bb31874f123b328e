"""Making of arrays: rows of numbers, as they are; shift and scale of each channel are learned from all of them.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ragdist.modalities.array import foreign
from ragdist.modalities.array.channels import Channels, Statistics
from ragdist.modalities.array.options import ArrayOptions
from ragdist.modalities.base import Encoded, Form, NoOptions

unit, units = "array", "arrays"
payload = ("npy",)
suffixes = frozenset((".npy",))
rank = 1  # beside pictures and sounds they may be features of these
guess_arrays = "alone"
of_tables = True
# Of networks: shift, scale. Of a source that knows them: obstacles [[x0, y0, x1, y1], ...], which no path may cross;
# routes [[[x, y], ...], ...], the ways that there are; tolerance, how far from its route a path of it may be.
spec = frozenset(("shift", "scale", "obstacles", "routes", "tolerance", "payload"))
decoding = {"payload": ""}  # npy: of others' shards; else rows of numbers
of_networks = frozenset(("shift", "scale"))
options, index_options = ArrayOptions, NoOptions
begin = "--config paths"
depends: Mapping[str, str] = {}
reading = nullcontext
index_fit, describe, notes = foreign.index_fit, foreign.describe, foreign.notes

NUMBERS = np.dtype("<f4")

_FEW = 4  # channels of a sequence; of [N, more, more] numbers it cannot be told that they are no pictures


class Described(NamedTuple):
    """A sample of a source that knows more of all of its samples, which is equal for them: for the index's spec."""

    numbers: np.ndarray
    about: Mapping[str, Any]


@dataclass
class Learned(ArrayOptions):
    """Options with what was learned from all samples."""

    channels: Channels = field(default_factory=lambda: Channels((), ()))
    about: Mapping[str, Any] = field(default_factory=dict)


def row_type(form: Form) -> np.dtype | None:
    return None if form.spec.get("payload") else NUMBERS


def fit(items: Iterable[bytes | np.ndarray | Described], options: ArrayOptions) -> Learned:
    found, about, shape = Statistics(), {}, None
    for item in items:
        about = item.about if isinstance(item, Described) else about
        try:
            numbers = foreign.finite(_numbers(item))
        except ValueError:
            continue  # it is named when it is encoded
        if shape in (None, numbers.shape):
            shape = numbers.shape
            found.add(numbers)
    return Learned(options.scaling, found.channels(options.scaling), about)


def _numbers(item: bytes | np.ndarray | Described) -> np.ndarray:
    """The numbers of an item, where it is a .npy file its array's. Raises ValueError for a file that is none."""
    if isinstance(item, bytes):
        return foreign.content(item)
    return item.numbers if isinstance(item, Described) else item


def encode(item: bytes | np.ndarray | Described, options: Learned) -> Encoded:
    """Encode a sample [C, T] or [D]. Raises ValueError for no array, and for numbers that are not finite."""
    given = _numbers(item)
    numbers = foreign.finite(given)
    said = {"shift": list(options.channels.shift), "scale": list(options.channels.scale), **options.about}
    return Encoded(numbers.tobytes(), "npy", numbers.shape, said, foreign.rounded(given))


def from_array(row: np.ndarray) -> np.ndarray:
    return np.array(row)  # of a mapped file, whose memory would stay


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    if len(shape) not in (2, 3) or 0 in shape:
        return f"has the shape {list(shape)}: arrays are [N, channels, steps], or vectors [N, numbers]"
    if dtype.kind not in "iufb":
        return f"holds {dtype}: arrays are of floats or integers"
    return ""


def unlikely_array(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[1] > _FEW


def begin_with(form: Form) -> str:
    return " --network.family mlp" if len(form.shape) == 1 else ""


def loses(form: Form, options: Any) -> bool:
    return False


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    (name, form), (odd, odd_form) = first, other
    if form.shape == odd_form.shape:  # the rest of the spec is learned of all of them
        return ""
    words, others = in_words(form), in_words(odd_form)
    if writing:
        return f"arrays of different shapes: {name} is {words}, {odd} is {others}; all must be alike"
    return f"it is {others}, and the first sample, {name}, {words}: all must be alike"


def in_words(form: Form) -> str:
    if len(form.shape) == 1:
        return f"vectors of {form.shape[0]:,} numbers"
    return f"{form.shape[0]:,} channel{'s' if form.shape[0] > 1 else ''} of {form.shape[1]:,} steps"
