"""A comparison of what webdataset reads from a shard with what the index says."""

import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from ragdist import modalities
from ragdist.data import packed
from ragdist.data.index import NO_LABEL, Index
from ragdist.data.indexing.tar_walk import printable

_CLASS = "cls"  # the member that holds a label


def compare(data: Any, place: str, table: np.ndarray, index: Index) -> list[str]:
    """What webdataset loses of a shard or reads otherwise, one line each.

    Args:
        data: the tar's bytes, an mmap.
        place: the tar's path or URL, for messages.
        table: the shard's records, `ragdist.data.index.TABLE`.
    """
    try:
        names = _names(data)
        given, parts = _given(data, place)
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        return [f"{place}: webdataset cannot read it: {' '.join(str(error).split()) or type(error).__name__}"]
    if (dtype := modalities.row_type(index.codec, index.form)) is not None:
        members = {start: key for start, (key, extension) in names.items() if extension == packed.ROWS}
        return [f"{place}: {line}" for line in _compare_rows(members, given, parts, table, index, dtype)]
    found, indexed = [], set()
    for row, record in enumerate(table):
        name = names.get(int(record["offset"]))
        if name is None:
            found.append(f"{place}: sample {row}: no member of the tar begins at byte {int(record['offset'])}")
            continue
        key, extension = name
        indexed.add(key)
        if reason := _differs(given.get(key), parts[key], extension, record, index):
            found.append(f"{place}: sample {row} ({printable(key)}): {reason}")
    if more := len(given.keys() - indexed):
        found.append(f"{place}: webdataset gives {more:,} samples that the index does not have")
    return found


def _names(data: Any) -> dict[int, tuple[str, str]]:
    """Key and extension, as webdataset splits a name, of each member by the byte that its content begins at."""
    from webdataset.tariterators import base_plus_ext

    data.seek(0)
    found = {}
    with tarfile.open(fileobj=data, mode="r:") as tar:
        for member in tar:
            key, extension = base_plus_ext(member.name)
            if key is not None:
                found[member.offset_data] = key, extension.lower()
    return found


def _given(data: Any, place: str) -> tuple[dict[str, dict[str, bytes]], Counter]:
    """The samples that webdataset's pipeline gives, the last of each key, and how many there are of a key."""
    samples, parts = {}, Counter()
    for sample in _samples(data, place):
        samples[sample["__key__"]] = sample
        parts[sample["__key__"]] += 1
    return samples, parts


def _samples(data: Any, place: str) -> Iterator[dict]:
    from webdataset.filters import reraise_exception
    from webdataset.tariterators import group_by_keys, tar_file_expander

    data.seek(0)
    files = tar_file_expander([{"url": place, "stream": data}], handler=reraise_exception)
    return group_by_keys(files, handler=reraise_exception)


def _differs(sample: dict | None, parts: int, extension: str, record: np.void, index: Index) -> str:
    if sample is None:
        return "webdataset does not give it"
    if parts > 1:
        return f"webdataset gives it in {parts} parts: its members do not lie side by side, or its key is another's too"
    payload = sample.get(extension)
    if payload is None:
        return f"webdataset gives it without its .{extension}"
    if len(payload) != record["length"] or zlib.crc32(payload) != record["crc32"]:
        return f"webdataset's .{extension} has other bytes than were indexed"
    label = int(record["label"])
    if label != NO_LABEL and _CLASS in sample and "json" not in sample:  # which the index may have its labels from
        text = sample[_CLASS].decode("utf-8", "replace").strip()
        if text not in (str(label), index.classes[label]):
            return f"webdataset's label is {printable(text)}, the index says {label} ({index.classes[label]})"
    return ""


# Packed samples.


def _compare_rows(
    members: dict[int, str], given: dict[str, dict], parts: Counter, table: np.ndarray, index: Index, dtype: np.dtype
) -> Iterator[str]:
    """What webdataset loses or reads otherwise; ``members`` are the keys of arrays by where they begin."""
    offsets, claimed, more = table["offset"].astype(np.int64), np.zeros(len(table), bool), 0
    for start, key in members.items():
        name = f"{printable(key)}.{packed.ROWS}"
        if parts[key] != 1:
            if parts[key]:
                yield f"webdataset gives {name} in {parts[key]} parts: its members do not lie side by side"
            continue
        sample = given[key]
        try:
            rows, header = packed.rows_in(sample[packed.ROWS])
            if rows.dtype != dtype or rows.shape[1:] != tuple(index.shape):
                raise ValueError(f"it holds {rows.dtype} {list(rows.shape)}")
            labels = packed.rows_in(sample[packed.LABELS])[0] if packed.LABELS in sample else None
        except ValueError as error:
            yield f"webdataset's {name} is no array of such samples: {error}"
            continue
        size = rows.nbytes // max(len(rows), 1)
        here = np.flatnonzero((offsets >= start) & (offsets < start + header + rows.nbytes))
        claimed[here] = True
        more += len(rows) - len(here)
        for row in here.tolist():
            number, rest = divmod(int(offsets[row]) - start - header, size)
            if reason := _row_differs(rows[number] if rest == 0 <= number else None, labels, number, table[row], index):
                yield f"sample {row} (row {number} of {name}): {reason}"
    for row in np.flatnonzero(~claimed).tolist():
        yield f"sample {row}: no member that webdataset gives has it, at byte {int(offsets[row])}"
    if more:
        yield f"webdataset gives {more:,} samples that the index does not have"


def _row_differs(row: np.ndarray | None, labels: np.ndarray | None, number: int, record: np.void, index: Index) -> str:
    if row is None:
        return "no row of it begins where it was indexed"
    if row.nbytes != record["length"] or zlib.crc32(row.tobytes()) != record["crc32"]:
        return "webdataset's row has other bytes than were indexed"
    label = int(record["label"])
    if label == NO_LABEL:
        return ""
    if labels is None or not number < len(labels):
        return f"webdataset gives it without its label, as .{packed.LABELS}"
    if labels[number] != label:
        return f"webdataset's label is {labels[number]}, the index says {label} ({index.classes[label]})"
    return ""
