"""Tables of text: comma-separated and the like, JSON, JSON Lines; rows by column, whatever separates them."""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any

from ragdist import modalities
from ragdist.tools.errors import UserError

ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
_SEPARATORS = (",", ";", "\t", "|")
_NESTED = ("data", "samples", "items", "images", "rows", "annotations", "labels")  # keys of the one list in an object

Row = dict[str, Any]


@dataclass
class Table:
    """Rows by column."""

    name: str  # for messages
    columns: dict[str, str]  # names of columns as they are compared -> as they are written
    rows: list[tuple[int, Row]]  # with the line, or the number of the entry
    word: str = "line"  # what the numbers of rows count

    def at(self, number: int) -> str:
        """A row for messages, by its line."""
        return f"{self.name} {self.word} {number}"


@cache
def plain(column: str) -> str:
    """A column's name as it is compared: ``Image File`` and ``image-file`` are ``image_file``."""
    return re.sub(r"\W+", "_", column.strip().lower()).strip("_")


def read(name: str, data: bytes, texts: Collection[str] = ()) -> Table:
    """Read a table by the ending of its name.

    ``texts``: names of columns, as they are compared, whose cells may be whole documents, of any length.

    Raises:
        UserError: it is none.
    """
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no text in UTF-8 ({error.reason} at byte {error.start:,})") from error
    ending = PurePath(name).suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        return _of_objects(name, _json_lines(name, text))
    if ending == ".json":
        return _json(name, text)
    most = csv.field_size_limit()
    try:
        return _separated(name, text, texts)
    except csv.Error as error:
        mend = (
            "; a quotation mark may be left open"
            if "unexpected end" in str(error) or "expected after" in str(error)
            else ""
        )
        raise UserError(f"{name} cannot be read as a CSV file ({error}){mend}") from error
    finally:
        csv.field_size_limit(most)


# Text with separators.


def _separated(name: str, text: str, texts: Collection[str]) -> Table:
    lines, skipped = text, 0
    if text[:4].lower() == "sep=":  # Excel's
        lines, skipped = text.partition("\n")[2], 1
    first = next((line for line in lines.splitlines() if line.strip()), "")
    separator, header = _separator(first)
    if not header and separator is None:
        return Table(name, {"path": "path", "label": "label"}, list(_words(lines, skipped)))
    rows = csv.reader(io.StringIO(lines, newline=""), delimiter=separator or ",", skipinitialspace=True, strict=True)
    columns = ["path", "label"]
    if header:
        columns = next((cells for cells in rows if "".join(cells).strip()), [])
    keys = [plain(column) or f"column {i + 1}" for i, column in enumerate(columns)]
    if again := next((key for key in keys if keys.count(key) > 1), ""):
        raise UserError(f"{name} has two columns called '{again}': give each a name of its own")
    if not set(texts).isdisjoint(keys):
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    found = []
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(keys):
            raise UserError(
                f"{name} line {rows.line_num + skipped}: {len(cells)} cells under {len(keys)} columns; put what holds "
                f"{separator!r} in quotation marks"
            )
        found.append((rows.line_num + skipped, dict(zip(keys, cells, strict=False))))
    return Table(name, dict(zip(keys, columns, strict=True)), found)


def _separator(first: str) -> tuple[str | None, bool]:
    """(separator, whether there are names of columns) by the first line; None: words are divided by spaces."""
    cells = {
        separator: next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        for separator in _SEPARATORS
    }
    separator = max(_SEPARATORS, key=lambda separator: (len(cells[separator]), separator == ","))
    found = cells[separator]
    if len(found) > 1:
        return separator, not (len(found) == 2 and _is_file(found[0]))
    if _is_file(first.strip()) or (first.strip() and _is_file(first.rsplit(None, 1)[0])):
        return None, False
    return ",", True


def _words(text: str, skipped: int) -> Iterator[tuple[int, Row]]:
    """Lines ``PATH`` or ``PATH LABEL``; a path may hold spaces."""
    for number, line in enumerate(text.splitlines(), 1 + skipped):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ") if "\t" not in line else line.strip().rpartition("\t")
        yield (
            number,
            {"path": line.strip()} if _is_file(line.strip()) or not path else {"path": path.strip(), "label": label},
        )


def _is_file(text: str) -> bool:
    """Whether a text ends like the name of a sample's file."""
    return PurePath(text.strip().strip('"')).suffix.lower() in _suffixes()


@cache
def _suffixes() -> frozenset[str]:
    return frozenset().union(*(making.suffixes for making in modalities.all_making().values()))


# JSON.


def loads(name: str, text: str) -> Any:
    """Parse a JSON text. Raises UserError where it is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UserError(f"{name}: no JSON (nested too deeply)") from error
    except ValueError as error:
        raise UserError(f"{name}: no JSON ({getattr(error, 'msg', error)})") from error


def _json_lines(name: str, text: str) -> Iterator[tuple[int, Row]]:
    for line, row in enumerate(io.StringIO(text), 1):
        if not row.strip():
            continue
        found = loads(f"{name} line {line}", row)
        if not isinstance(found, dict):
            raise UserError(f'{name} line {line}: give an object like {{"path": "a.jpg", "label": "cat"}}')
        yield line, found


def _of_objects(name: str, rows: Iterator[tuple[int, Row]], word: str = "line") -> Table:
    columns: dict[str, str] = {}
    found = []
    for line, row in rows:
        columns |= {plain(column): column for column in row if plain(column) not in columns}
        found.append((line, {plain(column): value for column, value in row.items()}))
    return Table(name, columns, found, word)


def _json(name: str, text: str) -> Table:
    try:
        content = loads(name, text)
    except UserError:
        first, _, rest = text.strip().partition("\n")
        if rest.lstrip().startswith("{") and first.strip().endswith("}"):
            return _of_objects(name, _json_lines(name, text))
        raise
    if (rows := entries(content)) is None:
        raise UserError(
            f'{name} is no listing: give a list of objects like {{"path": "a.jpg", "label": "cat"}}, or pairs of a '
            "path and a label"
        )
    return _of_objects(name, iter(list(enumerate(rows, 1))), "entry")


def is_coco(content: Any) -> bool:
    """Whether a parsed JSON file is of the format of COCO: any number of objects in each picture."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def entries(content: Any) -> list[Row] | None:
    """The rows of a parsed JSON file: of objects, of pairs (path, label), or path -> label; None: there are none."""
    if isinstance(content, dict):
        if is_coco(content):
            return None
        lists = [content[key] for key in _NESTED if isinstance(content.get(key), (list, dict))]
        if len(lists) == 1:
            return entries(lists[0])
        if content and all(not isinstance(value, (dict, list)) and _is_file(key) for key, value in content.items()):
            return [{"path": path, "label": label} for path, label in content.items()]
        return None
    if not isinstance(content, list):
        return None
    if all(isinstance(row, dict) for row in content):
        return content
    if all(isinstance(row, list) and len(row) == 2 for row in content):
        return [{"path": path, "label": label} for path, label in content]
    return None


def joined(columns: Sequence[str], most: int = 8) -> str:
    """Names of columns for a message."""
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(repr(column)[:60] for column in columns[:most]) + more
