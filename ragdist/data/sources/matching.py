"""Matching of the names in a label file with the files that lie beside it."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from ragdist.data.sources.source import Remarks
from ragdist.data.sources.tables import Table
from ragdist.tools.errors import UserError


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def below(samples: Sequence[str], folder: str) -> Sequence[str]:
    """Of sorted paths those in a folder and below it; in no folder: all."""
    if not folder:
        return samples
    return samples[bisect_left(samples, f"{folder}/") : bisect_left(samples, f"{folder}0")]  # 0 comes after /


def common_folder(samples: Sequence[str]) -> str:
    """The folder that all samples are below."""
    first, last = min(samples).split("/")[:-1], max(samples).split("/")[:-1]
    shared = [a for a, b in zip(first, last, strict=False) if a == b]
    return "/".join(
        shared[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(shared))]
    )


class Matching:
    """Finds samples by what a table calls them: a path from the table's folder, else a name, else that without ending.

    Names that several samples have find none.
    """

    def __init__(self, samples: Sequence[str]):
        self._paths = {sample: sample for sample in samples}
        self._short: dict[Callable[[str], str], dict[str, str]] = {}

    def any(self, table: Table, path: str) -> bool:
        """Whether a table names any sample in its column ``path``."""
        return any(sample for _, _, sample in self._rows(table, path))

    def values(self, table: Table, path: str, labels: Sequence[Any], remarks: Remarks) -> dict[str, Any]:
        """Samples -> labels. Rows that name nothing that is there are remarked upon.

        Raises:
            UserError: a sample has two labels.
        """
        found: dict[str, Any] = {}
        for (number, name, sample), label in zip(self._rows(table, path), labels, strict=True):
            if not sample:
                remarks.count(f"rows of {table.name} that name no file that is there", str(name))
            elif sample in found and differ(found[sample], label):
                raise UserError(
                    f"{table.at(number)}: {sample} is labelled {found[sample]!r} and {label!r}, and a sample has one "
                    "class: mend it, or give --labels none"
                )
            else:
                found[sample] = label
        return found

    def _rows(self, table: Table, path: str) -> Iterator[tuple[int, Any, str]]:
        """(number, name, sample or nothing) of each row."""
        names = [self._written(row.get(path)) for _, row in table.rows]
        folder = table.name.rpartition("/")[0]
        # Of ways that find as many samples the strictest: a shorter name may be that of a file elsewhere, too.
        find = max(self._ways(folder), key=lambda find: len({*map(find, names)} - {""}))
        for (number, row), name in zip(table.rows, names, strict=True):
            yield number, row.get(path), find(name)

    def _ways(self, folder: str) -> list[Callable[[str], str]]:
        """Ways to find a sample by its name, the strictest first."""
        paths, bases, stems = self._paths, self._by(_base), self._by(_stem)
        within = f"{folder}/" if folder else ""
        return [
            lambda name: paths.get(within + name, "") if name else "",
            lambda name: bases.get(_base(name), "") if name else "",
            lambda name: stems.get(_base(name), "") if name else "",
        ]

    def _by(self, short: Callable[[str], str]) -> dict[str, str]:
        """Samples by a shorter name; those that share it are found by none."""
        if short not in self._short:
            found: dict[str, str] = {}
            for sample in self._paths:
                name = short(sample)
                found[name] = "" if name in found else sample
            self._short[short] = found
        return self._short[short]

    @staticmethod
    def _written(name: Any) -> str:
        if isinstance(name, int) and not isinstance(name, bool):
            return str(name)
        if not isinstance(name, str):
            return ""
        return re.sub(r"^(\./)+", "", name.strip().replace("\\", "/"))


def differ(a: Any, b: Any) -> bool:
    """Whether two labels are not written alike."""
    return str(a).strip() != str(b).strip()
