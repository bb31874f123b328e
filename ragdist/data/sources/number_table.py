"""Tables of numbers as text, .csv or .tsv: a row is a sample, a vector; a column may hold the labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.archive import stamp
from ragdist.data.sources.arrays import of_array
from ragdist.data.sources.columns import LABELS
from ragdist.data.sources.source import Source
from ragdist.data.sources.tables import joined, plain
from ragdist.tools.errors import UserError, nearest

_DELIMITERS = "\t;,"  # the first one that the first line has


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open the rows of a table. The first line may hold the columns' names; an empty cell is no number.

    Raises:
        UserError: a cell is no number, rows are of several lengths, or there is no such column of labels.
    """
    path = Path(name).absolute()
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no table of numbers: it is no text in UTF-8") from error
    lines = text.splitlines()
    delimiter = next((mark for mark in _DELIMITERS if lines and mark in lines[0]), ",")
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(lines, delimiter=delimiter), 1) if any(row)]
    except csv.Error as error:
        raise UserError(f"{name} is no table of numbers ({error})") from error
    header = [] if not rows or all(map(_is_number, rows[0][1])) else [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise UserError(f"{name} holds no rows of numbers")
    remarks = _remarks(name, header, rows[0][1], options.label_column)
    labels = None
    if options.label_column:
        if options.label_column not in header:
            close = nearest(options.label_column, header)
            raise UserError(f"--label_column {options.label_column}: {name} has no such column{close}")
        place = header.index(options.label_column)
        labels = np.array([row.pop(place).strip() if place < len(row) else "" for _, row in rows])
    width = len(rows[0][1])
    numbers = np.empty((len(rows), width))
    for out, (number, row) in zip(numbers, rows, strict=True):
        if len(row) != width:
            raise UserError(f"{name}, line {number}: it has {len(row)} numbers, and the first row {width}")
        if bad := next((cell for cell in row if not _is_number(cell)), None):
            raise UserError(f"{name}, line {number}: {bad[:40]!r} is no number")
        out[:] = [float(cell) if cell.strip() else np.nan for cell in row]
    file = scratch / f"table-{stamp(path)}.npy"
    np.save(file, numbers)
    return replace(of_array(name, numbers, file, stamp(path), labels, modality=options.modality), remarks=remarks)


def _remarks(name: str, header: Sequence[str], first: Sequence[str], label: str) -> list[str]:
    """What may be meant otherwise: names that are numbers, numbers that are names, a column of labels."""
    said = []
    if any(cell and _is_number(cell) for cell in header):
        said.append(f"{name}: its first line is taken for the columns' names, and no sample: {joined(header)}")
    if not header and first in ([str(i + begin) for i in range(len(first))] for begin in (0, 1)):
        said.append(
            f"{name}: its first line is taken for a sample: {joined(first)}; delete it if it numbers the columns"
        )
    if not label and (
        found := next((column for column in header if plain(column) in LABELS and plain(column) != "y"), "")
    ):
        said.append(
            f"{name}: the column '{found}' is taken for numbers like the others; --label_column {found} for labels"
        )
    return said


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return not cell.strip()
    return True
