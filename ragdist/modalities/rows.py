"""Rows of packed samples: the numbers of each, one after the other, as they lie in a shard."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def decode_all(payloads: Sequence[memoryview], dtype: np.dtype, shape: tuple[int, ...]) -> Tensor:
    """Decode rows to [n, *shape]; the whole of a `Training.decode_all` whose rows may be any numbers.

    Raises:
        ValueError: one is of another length.
    """
    size = math.prod(shape) * dtype.itemsize
    if odd := {len(payload) for payload in payloads} - {size}:
        raise ValueError(f"it has {min(odd):,} bytes, and {list(shape)} of {dtype} take {size:,}")
    # A bytearray's memory is the tensor's own, which may be written to.
    numbers = np.frombuffer(bytearray().join(payloads), dtype)
    return torch.from_numpy(numbers.reshape(len(payloads), *shape))
