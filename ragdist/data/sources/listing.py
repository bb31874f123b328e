"""Listings: tables with a sample's path, and perhaps its label, in each row."""

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.labels import numbered
from ragdist.data.sources import cells, columns, tables
from ragdist.data.sources.archive import stamp
from ragdist.data.sources.folder import FileReader
from ragdist.data.sources.grouping import most_of
from ragdist.data.sources.source import Remarks, Source
from ragdist.tools.errors import UserError

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_WORDS = re.compile(r"[,;\t|]|\s+(?=\S+$)")  # of a row: what stands between separators, or before a label
_WINDOWS = re.compile(r"[a-zA-Z]:[\\/]|\\\\")


def names_files(path: Path, looked_at: int = 1 << 16) -> bool:
    """Whether a table's first lines name files: a column is called so, or they have samples' endings or are there."""
    with open(path, "rb") as file:
        head = file.read(looked_at)
    endings = frozenset().union(*(making.suffixes for making in modalities.all_making().values()))
    rows = [_WORDS.split(os.fsdecode(line).strip()) for line in head.splitlines() if line.strip()][:20]
    if not rows or (len(rows[0]) > 1 and any(tables.plain(word) in columns.PATHS for word in rows[0])):
        return True
    for row in rows:
        words = [word.strip(" \"'") for word in row]
        if any(Path(word).suffix.lower() in endings for word in words):
            return True
        with contextlib.suppress(OSError, ValueError):
            if words[0] and (path.parent / words[0]).is_file():
                return True
    return False


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open the files that a listing names; relative paths start at its folder."""
    path, remarks = Path(name).absolute(), Remarks()
    making = modalities.making(options.modality or next(iter(modalities.MODALITIES)))  # for what is said of no file
    texts = (*columns.TEXTS, tables.plain(options.image_column)) if options.modality in ("", "text") else ()
    table = tables.read(name, path.read_bytes(), texts)
    if cell := columns.text_column(table, options):
        return cells.of_column(table, cell, stamp(path), *_labels(table, cell, options, remarks), remarks)
    by_line = not table.columns or path.suffix.lower() in (".json", ".jsonl", ".ndjson")  # rows may have other columns
    column = "" if by_line and not options.image_column else columns.path_column(table, options)
    if not table.rows:
        if not by_line or path.suffix.lower() == ".csv":
            columns.path_column(table, options)
        raise UserError(f"{name} lists no {making.units}")
    paths = [_path(table, line, row, column, making.unit) for line, row in table.rows]
    labels, classes = _labels(table, column, options, remarks)
    root = str(path.parent)
    paths = _found_by_slashes(root, paths, remarks)
    modality = options.modality or most_of(name, paths)
    status = [_status(os.path.join(root, file)) for file in paths]
    if len(paths) > 1 and not any(status):
        raise UserError(
            f"{paths[0]} cannot be read, nor any other of the {len(paths):,} files of {name}, for none is there; "
            f"relative paths start at {root}"
        )
    _remark_on_repeated(table, paths, labels, remarks)
    digest = hashlib.sha256(repr(status).encode()).hexdigest()
    identity = f"{stamp(path)} {digest}"
    return Source(paths, paths, FileReader(root), modality, identity, labels, classes, remarks=remarks.lines())


def _path(table: tables.Table, line: int, row: tables.Row, column: str, unit: str) -> str:
    value = row.get(column) if column else next((row[key] for key in columns.PATHS if row.get(key)), None)
    if not isinstance(value, str) or not value or "\0" in value:
        raise UserError(f"{table.at(line)}: it names no {unit}; the path belongs under '{columns.PATHS[0]}'")
    if "\n" in value:
        raise UserError(f"{table.at(line)}: a path of several lines: a quotation mark may be left open before it")
    if _URL.match(value):
        raise UserError(f"{table.at(line)}: {value[:200]} is a URL: download the files, and list their paths")
    if _WINDOWS.match(value):
        raise UserError(
            f"{table.at(line)}: {value[:200]} is a path of a machine with Windows: give paths relative to that of "
            "the listing"
        )
    return value


def _labels(
    table: tables.Table, column: str, options: ShardOptions, remarks: Remarks
) -> tuple[list[int], Sequence[str]]:
    if options.labels == "none":
        return [], []
    paths = column or next((key for key in columns.PATHS if key in table.columns), "")
    if (found := columns.labels(table, paths, options, remarks)) is None:
        return [], []
    values, names = found
    return numbered(table.name, values, names, each=lambda i: f"{table.word} {table.rows[i][0]}")


def _found_by_slashes(root: str, paths: list[str], remarks: Remarks) -> list[str]:
    r"""The paths, with ``/`` for ``\`` where only that is there: listings are also written on Windows."""
    found = []
    for path in paths:
        turned = path.replace("\\", "/")
        if turned != path and not os.path.exists(os.path.join(root, path)):
            remarks.count(r"paths with \, taken for /", path)
            path = turned
        found.append(path)
    return found


def _status(path: str) -> tuple[int, int] | None:
    """(bytes, time of change) of a file; None where there is none: it is a bad sample when its turn comes."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _remark_on_repeated(table: tables.Table, paths: Sequence[str], labels: Sequence[Any], remarks: Remarks) -> None:
    first: dict[str, int] = {}
    for i, path in enumerate(paths):
        before = first.setdefault(os.path.normpath(path), i)
        if before == i:
            continue
        where = f"{path} in {table.word} {table.rows[i][0]} and {table.rows[before][0]}"
        if len(labels) and labels[i] != labels[before]:
            remarks.count("files that are listed again under another class, and are in the data under both", where)
        else:
            remarks.count("files that are listed again, and are in the data as often", where)
