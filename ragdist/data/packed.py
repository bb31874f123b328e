"""Packed samples: many in a member of a shard, as the rows of an array.

    KEY.labels.npy   int64 [n], where samples have labels
    KEY.rows.npy     [n, *shape], little-endian in C order

KEY is the number that the first of them has in the order of writing, or would have if it were not left out. A shard's
table says where each row is, as it does of samples that are members of their own.
"""

import io
import math

import numpy as np

from ragdist.modalities.base import Form

ROWS, LABELS = "rows.npy", "labels.npy"  # extensions of members
_MOST, _LARGEST = 5_000, 1 << 26  # samples of a member, and its bytes while there is more than one
_BLOCK = 512  # of a tar: where contents begin


def row_bytes(dtype: np.dtype, form: Form) -> int:
    """Bytes of a sample."""
    return math.prod(form.shape) * dtype.itemsize


def samples_of_a_member(dtype: np.dtype, form: Form) -> int:
    """How many samples a member has, but for a shard's last one and for those that are left out."""
    return max(min(_MOST, _LARGEST // row_bytes(dtype, form)), 1)


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file: format 1.0, the same bytes whatever version of NumPy is here."""
    said = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = -(-(10 + len(said) + 1) // 64) * 64
    return b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + said.ljust(size - 11) + b"\n"


def rows_in(member: bytes) -> tuple[np.ndarray, int]:
    """The array in a member, and the bytes of the header before it. Raises ValueError where there is none."""
    try:
        rows = np.lib.format.read_array(io.BytesIO(member), allow_pickle=False)
    except (EOFError, OSError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return rows, len(member) - rows.nbytes


def place_in_member(table: np.ndarray, sample: int) -> tuple[int, int | None]:
    """Where the tar's header of a sample's member begins, and the sample's row in it; None: it is the whole member.

    Args:
        table: TABLE records of the shard.
        sample: its number in it.
    """
    offsets, lengths = table["offset"][: sample + 1].astype(np.int64), table["length"][:sample].astype(np.int64)
    gaps = np.flatnonzero(offsets[1:] != offsets[:-1] + lengths)
    first = int(gaps[-1]) + 1 if len(gaps) else 0
    start = int(offsets[first])
    if start % _BLOCK == 0:
        return start - _BLOCK, None
    return start // _BLOCK * _BLOCK - _BLOCK, sample - first  # before the rows is the header of the .npy
