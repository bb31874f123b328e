"""Texts in a table's cells: each is a document."""

from collections.abc import Sequence
from typing import Any

from ragdist.data.sources.source import Remarks, Source
from ragdist.data.sources.tables import Table


class CellReader:
    """Reads a cell, which is its own place."""

    def __call__(self, place: Any) -> str:
        if not isinstance(place, str):
            raise ValueError("the row has no text")
        return place


def of_column(
    table: Table, column: str, identity: str, labels: Sequence[int], classes: Sequence[str], remarks: Remarks
) -> Source:
    """The source of a column's cells."""
    names = [table.at(number) for number, _ in table.rows]
    remarks.say(f"{table.name}: texts are those of the column '{table.columns[column]}'")
    places = [row.get(column) for _, row in table.rows]
    identity = f"{identity} {column}"
    return Source(names, places, CellReader(), "text", identity, labels, classes, remarks=remarks.lines())
