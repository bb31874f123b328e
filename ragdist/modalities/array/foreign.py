"""Arrays that others packed, a .npy file each: their form, their numbers, and what is learned of all of them.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ragdist.modalities.array.channels import Channels, Statistics
from ragdist.modalities.base import Form, NoOptions

_ROUNDED = "rounded to float32"


@dataclass
class FittedIndex(NoOptions):
    """What was learned: networks see each channel to mean 0 and deviation 1."""

    channels: Channels = field(default_factory=lambda: Channels((), ()))


def content(payload: memoryview | bytes) -> np.ndarray:
    """The array of a .npy file, as it is there. Raises ValueError where it is none, or one of what are no numbers."""
    file = io.BytesIO(payload)
    try:
        version = npy.read_magic(file)
        shape, in_columns, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise ValueError("it is no .npy file, or damaged") from error
    if any(isinstance(axis, bool) or axis < 0 for axis in shape):
        raise ValueError(f"its header says the shape {list(shape)}")
    if dtype.kind not in "iufb":
        raise ValueError(f"it holds {dtype}: arrays are of floats or integers")
    numbers = file.read()
    if len(numbers) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"its header says {list(shape)} of {dtype}, and {len(numbers):,} bytes follow")
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(f"it has the shape {list(shape)}: arrays are [channels, steps], or vectors [numbers]")
    return np.frombuffer(numbers, dtype).reshape(shape, order="F" if in_columns else "C")


def finite(given: np.ndarray) -> np.ndarray:
    """Numbers as they are stored, little-endian float32 in C order. Raises ValueError where one is not finite there."""
    if not np.isfinite(given).all():
        raise ValueError("it holds numbers that are not finite (NaN or infinity)")
    with np.errstate(over="ignore"):
        numbers = given.astype("<f4", order="C")
    if not np.isfinite(numbers).all():
        raise ValueError("it holds numbers beyond 3.4e38, which float32 has not")
    return numbers


def rounded(given: np.ndarray) -> tuple[str, ...]:
    """What float32 does to these finite numbers."""
    if given.dtype == np.float32:
        return ()
    numbers = given.astype(np.float32)
    if given.dtype.kind in "iu":  # the largest would be rounded to what their type has not
        beyond = float(np.iinfo(given.dtype).max) + 1
        if (numbers.astype(np.float64) >= beyond).any():
            return (_ROUNDED,)
    return () if (numbers.astype(given.dtype) == given).all() else (_ROUNDED,)


def index_fit(payloads: Iterable[bytes], options: NoOptions) -> FittedIndex:
    found, shape = Statistics(), None
    for payload in payloads:
        try:
            numbers = finite(content(payload))
        except ValueError:
            continue  # it is named when it is read
        if shape in (None, numbers.shape):
            shape = numbers.shape
            found.add(numbers)
    return FittedIndex(found.channels("deviation"))


def describe(payload: memoryview, options: Any) -> Form:
    shift, scale = options.channels if isinstance(options, FittedIndex) else ((), ())
    return Form(finite(content(payload)).shape, {"shift": list(shift), "scale": list(scale), "payload": "npy"})


def notes(payload: memoryview, form: Form) -> tuple[str, ...]:
    return rounded(content(payload))
