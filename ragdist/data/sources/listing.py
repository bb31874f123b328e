"""Listings: .csv or .jsonl files with a sample's path, and perhaps its label, in each row."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.sources.archive import stamp
from ragdist.data.sources.folder import FileReader, most_of
from ragdist.data.sources.labels import numbered
from ragdist.data.sources.source import Source
from ragdist.tools.errors import UserError, nearest

_PATH, _LABEL = ("path", "file", "image", "file_name"), ("label", "class")


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open the files that a listing names; relative paths start at its folder."""
    path = Path(name).absolute()
    making = modalities.making(options.modality or next(iter(modalities.MODALITIES)))  # for what is said of no file
    try:
        rows = list(_csv(name, path) if path.suffix.lower() == ".csv" else _jsonl(name, path))
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no text in UTF-8 ({error.reason} at byte {error.start:,})") from error
    except csv.Error as error:
        raise UserError(f"{name} cannot be read as a CSV file ({error})") from error
    if not rows:
        raise UserError(f"{name} lists no {making.units}")
    paths, values = [], []
    for line, row in rows:
        paths.append(_path(name, line, row, making.unit))
        value = next((row[key] for key in _LABEL if row.get(key) not in (None, "")), None)
        if value is not None:
            values.append(value)
        if len(values) not in (0, len(paths)):
            which, others = ("no label", "have one") if value is None else ("a label", "have none")
            raise UserError(f"{name} line {line}: {which}, but the rows before it {others}")
    labels, classes = numbered(name, values)
    root, status, modality = str(path.parent), [], options.modality or most_of(name, paths)
    for file in paths:
        try:
            found = os.stat(os.path.join(root, file))
            status.append((found.st_size, found.st_mtime_ns))
        except OSError:  # it is a bad sample when its turn comes
            status.append(None)
    digest = hashlib.sha256(repr(status).encode()).hexdigest()
    return Source(paths, paths, FileReader(root), modality, f"{stamp(path)} {digest}", labels, classes)


def _path(name: str, line: int, row: dict[str, Any], unit: str) -> str:
    value = next((row[key] for key in _PATH if row.get(key)), None)
    if not isinstance(value, str) or "\0" in value:
        raise UserError(f"{name} line {line}: it names no {unit}; the path belongs under '{_PATH[0]}'")
    return value


def _csv(name: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        columns = [column.strip().lower() for column in rows.fieldnames or []]
        if not set(columns) & set(_PATH):
            raise UserError(
                f"{name} has no column 'path' in its first line but {', '.join(map(repr, columns[:8])) or 'nothing'}"
                f"{nearest(columns[0], _PATH) if columns else ''}"
            )
        rows.fieldnames = columns
        for row in rows:
            yield rows.line_num, row


def _jsonl(name: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise UserError(f"{name} line {line}: no JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise UserError(f'{name} line {line}: give an object like {{"path": "a.jpg", "label": "cat"}}')
            yield line, row
