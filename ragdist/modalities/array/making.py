"""Making of arrays: rows of numbers, as they are; shift and scale of each channel are learned from all of them.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ragdist.modalities.array.options import ArrayOptions
from ragdist.modalities.base import Encoded, Form

unit, units = "array", "arrays"
payload = ("npy",)
suffixes = frozenset((".npy",))
rank = 1  # beside pictures and sounds they may be features of these
guess_arrays = False
spec = frozenset(("shift", "scale"))
options = ArrayOptions
begin = "--config paths"


def row_type(form: Form) -> np.dtype:
    return np.dtype("<f4")


def encode(item: Any, options: ArrayOptions) -> Encoded:
    raise NotImplementedError


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return ""


def in_words(form: Form) -> str:
    return f"float32 {list(form.shape)}"
