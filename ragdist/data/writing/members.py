"""Encoded samples as members of a shard: one each, or packed."""

import zlib
from collections.abc import Iterable
from itertools import groupby
from typing import BinaryIO, NamedTuple

import numpy as np

from ragdist.data import packed
from ragdist.data.index import NO_LABEL, TABLE
from ragdist.data.writing import tar_writer
from ragdist.modalities.base import Encoded, Form


class Sample(NamedTuple):
    """A sample that is to be written."""

    number: int  # in the order of writing
    label: int
    encoded: Encoded


def write_each(samples: Iterable[Sample], file: BinaryIO) -> tuple[np.ndarray, int]:
    """Write members KEY.cls, where there is a label, and KEY.EXTENSION of each sample.

    Returns:
        TABLE records, and the bytes that were written.
    """
    rows, size = [], 0
    for number, label, encoded in samples:
        key = f"{number:09d}"
        if label != NO_LABEL:
            size += file.write(tar_writer.member(f"{key}.cls", b"%d" % label))
        rows.append((size + tar_writer.BLOCK, len(encoded.data), zlib.crc32(encoded.data), label))
        size += file.write(tar_writer.member(f"{key}.{encoded.extension}", encoded.data))
    return np.array(rows, TABLE), size


def write_packed(
    samples: Iterable[Sample], file: BinaryIO, first: int, dtype: np.dtype, form: Form
) -> tuple[np.ndarray, int]:
    """Write members with the rows of many samples, and beside each one with their labels, where there are some.

    Args:
        first: the number of the first sample, whether it is left out or not.
        dtype: of the samples' numbers.
        form: of the samples.

    Returns:
        TABLE records, and the bytes that were written.
    """
    tables, size, many = [np.empty(0, TABLE)], 0, packed.samples_of_a_member(dtype, form)
    for place, group in groupby(samples, lambda sample: (sample.number - first) // many):
        table, written = _write_rows(f"{first + place * many:09d}", list(group), file, dtype, form)
        table["offset"] += size
        tables.append(table)
        size += written
    return np.concatenate(tables), size


def _write_rows(key: str, samples: list[Sample], file: BinaryIO, dtype: np.dtype, form: Form) -> tuple[np.ndarray, int]:
    """Write one member of rows, and its labels; records and bytes as `write_packed`."""
    length, payloads = packed.row_bytes(dtype, form), [sample.encoded.data for sample in samples]
    assert all(len(payload) == length for payload in payloads), f"a row is not of {length} bytes, as {form} of {dtype}"
    assert all(sample.encoded.extension == "npy" for sample in samples), "packed samples have the extension npy"
    size, labels = 0, np.array([sample.label for sample in samples], "<i8")
    if (labels != NO_LABEL).any():
        content = packed.npy_header(labels.dtype, labels.shape) + labels.tobytes()
        size += file.write(tar_writer.member(f"{key}.{packed.LABELS}", content))
    header = packed.npy_header(dtype, (len(samples), *form.shape))
    table = np.empty(len(samples), TABLE)
    table["offset"] = size + tar_writer.BLOCK + len(header) + length * np.arange(len(samples), dtype=np.uint64)
    table["length"] = length
    table["crc32"] = list(map(zlib.crc32, payloads))
    table["label"] = labels
    size += file.write(tar_writer.member(f"{key}.{packed.ROWS}", b"".join([header, *payloads])))
    return table, size
