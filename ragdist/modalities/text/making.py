"""Making of texts: files are cut into samples, and those written as numbers of tokens.

Functions without a docstring are those of `modalities.base.Making`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ragdist.modalities.base import Encoded, Form
from ragdist.modalities.text.options import TextOptions

unit, units = "text", "texts"
payload = ("txt",)
suffixes = frozenset((".txt",))
guess_arrays = False
spec = frozenset(("tokens", "merges"))
options = TextOptions
begin = "--config text"


def row_type(form: Form) -> np.dtype:
    return np.dtype(np.uint8 if len(form.spec["tokens"]) <= 256 else "<i2")


def encode(item: Any, options: TextOptions) -> Encoded:
    raise NotImplementedError


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return "holds numbers: texts are files of text"


def in_words(form: Form) -> str:
    return f"{form.shape[0]} of {len(form.spec['tokens'])} tokens"
