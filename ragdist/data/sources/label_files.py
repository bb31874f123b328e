"""Files with labels that lie beside samples' files, as other tools write them.

dataset.json      of StyleGAN's dataset_tool: {"labels": [["00000/img00000000.png", 3], ...]}, or null
metadata.csv      of the datasets library's image folders, also .jsonl: a column file_name, relative to it
KEY.cls           of unpacked WebDataset shards, one beside each sample
KEY.json          of the same and of img2dataset, with a key label or the like, where no folder is a class
any other table   labels.csv, train.csv, _classes.csv, ...: where it names every sample, and no folder is a class
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from ragdist.config.shards import ShardOptions
from ragdist.data.sources import columns, tables
from ragdist.data.sources.matching import Matching, below, common_folder, differ
from ragdist.data.sources.parts import of_another_split, tells_splits
from ragdist.data.sources.source import Remarks
from ragdist.tools.errors import UserError

_MOST_BYTES = 2**29  # of a label file
_FIRST = 100  # files beside samples that are looked at for a key
_MOST_TABLES = 100  # that are looked at
_BOXES = "box"  # what the rows of a table of COCO's are
_METADATA = re.compile(r"metadata\.(csv|tsv|jsonl|ndjson)", re.I)
_LIKELY = re.compile(
    r"(^|[-_.])(labels?|annotations?|classes|train|attributes|categories|targets?|gt|ground_?truth|metadata)([-_.]|\d|$)",
    re.I,
)


@dataclass(frozen=True)
class Found:
    """Labels of all samples as they are written in a file; empty: it says that there are none."""

    values: Sequence[Any]
    names: Sequence[str] = field(default=())  # of the classes, where the file has them


class Beside:
    """The label files beside samples.

    Args:
        where: what holds the files, for messages.
        samples: their paths.
        others: paths of the other files -> places.
        read: gives a file's bytes by its place.
        options: ``labels`` and the columns' names.
        remarks: to add to.
    """

    def __init__(
        self,
        where: str,
        samples: Sequence[str],
        others: Mapping[str, Any],
        read: Callable[[Any], bytes],
        options: ShardOptions,
        remarks: Remarks,
    ):
        self.where, self.samples, self.others, self.read = where, samples, others, read
        self.options, self.remarks = options, remarks
        self.matching = Matching(samples)
        # A file in a folder above all samples may speak of them.
        folder = PurePosixPath(common_folder(samples))
        self.above = [str(folder), *map(str, folder.parents)] if str(folder) != "." else ["."]

    def find(self) -> Found | None:
        """Labels from the file that ``--labels`` names, or that is of a known kind; None: there is none."""
        if self.options.labels not in ("auto", "folders"):
            return self._said()
        if self.options.labels == "folders":
            return None
        return self._dataset_json() or self._metadata() or self._cls()

    def among(self) -> Found | None:
        """Labels from another table beside samples that no folder divides into classes; None: there is none.

        Raises:
            UserError: it is not certain which is meant, or one that seems to hold labels cannot be used.
        """
        if (found := self._json()) is not None:
            return found
        if unread := next((name for name in self.others if name.lower().endswith("metadata.parquet")), ""):
            raise UserError(f"{self.where}: {unread} may hold labels: give hf:FOLDER, which reads it, or --labels none")
        found = {}
        for name in self._tables():
            if (labels := self._table(name)) is not None:
                found[name] = labels
        if len(found) > 1:
            some = f"{', '.join(sorted(found)[:5])}{' and others' if len(found) > 5 else ''}"
            raise UserError(f"{self.where} has labels in {some}: say which with --labels {min(found)}, or none")
        if not found:
            return None
        name, labels = found.popitem()
        self.remarks.say(f"labels are taken from {name}; --labels none leaves them out")
        return labels

    def remark_on_others(self) -> None:
        """Say which files that may hold labels were not read, for folders are the classes."""
        if likely := [name for name in self._tables() if _LIKELY.search(PurePosixPath(name).stem)]:
            self.remarks.say(f"classes are the folders, and {likely[0]} was not read; --labels {likely[0]} takes it")

    def _tables(self) -> list[str]:
        """Tables in folders above the samples, but those that lie beside one sample each."""
        found = [name for name in self.others if str(PurePosixPath(name).parent) in self.above]
        beside = {sample.rpartition(".")[0] for sample in self.samples}
        found = [name for name in found if name.lower().endswith(tables.ENDINGS)]
        return [name for name in found if name.rpartition(".")[0] not in beside][:_MOST_TABLES]

    def _said(self) -> Found:
        name = self.options.labels
        fits = [other for other in self.others if other == name or other.endswith(f"/{name}")]
        if len(fits) != 1:
            there = ", ".join(self._tables()[:5]) or "none beside the samples"
            which = f"has {len(fits)} files" if fits else "has no file"
            raise UserError(f"--labels {name}: {self.where} {which} of that name; label files: {there}")
        if fits[0].rpartition("/")[2] == "dataset.json" and (found := self._dataset_json(fits)) is not None:
            return found
        table = tables.read(fits[0], self._bytes(fits[0]))
        path = columns.path_column(table, self.options, ids=True)
        if (found := columns.labels(table, path, self.options, self.remarks)) is None:
            raise UserError(f"--labels {name}: it has no column of labels: say which with --label_column")
        values, names = found
        return Found(self._of_all(table, path, values), names)

    def _bytes(self, name: str) -> bytes:
        try:
            data = self.read(self.others[name])
        except (OSError, ValueError) as error:
            raise UserError(f"{name} in {self.where} cannot be read ({error})") from error
        if len(data) > _MOST_BYTES:
            raise UserError(f"{name} in {self.where} has {len(data):,} bytes, more than a label file can")
        return data

    # StyleGAN.

    def _dataset_json(self, names: Sequence[str] | None = None) -> Found | None:
        names = names or [name for name in self.others if name.rpartition("/")[2] == "dataset.json"]
        names = [name for name in names if str(PurePosixPath(name).parent) in self.above]
        if not names:
            return None
        name = max(names, key=len)
        content = tables.loads(name, self._bytes(name).decode("utf-8", "replace"))
        if not isinstance(content, dict) or "labels" not in content:
            return None
        rows = content["labels"]
        if rows is None:
            self.remarks.say(f"{name} says that there are no labels; --labels folders takes the folders as classes")
            return Found([])
        if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
            raise UserError(f"{name}: its labels are no pairs of a file and a label; give --labels none or folders")
        values = self._of_all(
            tables.Table(name, {}, [(i, {"path": file}) for i, (file, _) in enumerate(rows, 1)], "entry"),
            "path",
            [_class_of(name, label) for _, label in rows],
        )
        self.remarks.say(f"labels are taken from {name}; --labels none leaves them out")
        return Found(values)

    # Tables.

    def _metadata(self) -> Found | None:
        """Labels from all metadata files, each of which speaks of the files in and below its folder."""
        names = [name for name in self.others if _METADATA.fullmatch(name.rpartition("/")[2])]
        names = [name for name in names if below(self.samples, name.rpartition("/")[0])]  # others are of other splits
        values: dict[str, Any] = {}
        for name in names:
            try:
                table = tables.read(name, self._bytes(name))
                path = columns.path_column(table, self.options)
            except UserError as error:
                raise UserError(f"{self.where}: {error}; --labels folders, or none, leaves it unread") from error
            if (found := columns.labels(table, path, self.options, self.remarks)) is None:
                continue
            labels, classes = found
            labels = [classes[label] for label in labels] if classes else labels
            matching = Matching(below(self.samples, name.rpartition("/")[0]))
            here = matching.values(table, path, labels, self.remarks)
            if odd := next((one for one in here if one in values and differ(here[one], values[one])), ""):
                raise UserError(
                    f"{name}: {odd} is labelled {here[odd]!r}, and {values[odd]!r} in another metadata file: mend one, "
                    "or give --labels none"
                )
            values |= here
        if not values:
            return None
        self.remarks.say(f"labels are taken from {', '.join(names[:3])}; --labels folders takes the folders as classes")
        return Found(self._all(names[0], values))

    def _table(self, name: str) -> Found | None:
        """Labels from a table of any name; None: it names no sample, or no labels, which is said where it seems to.

        Raises:
            UserError: it names samples, and their labels are not certain.
        """
        stem = PurePosixPath(name).stem
        if of_another_split(stem, self.options.split):
            self.remarks.say(f"{name} is called as that of another split, and was not read; --labels {name} takes it")
            return None
        likely = bool(_LIKELY.search(stem))
        try:
            table = self._opened(name)
            path = columns.path_column(table, self.options, ids=True)
        except UserError as error:
            if likely:
                self.remarks.say(f"{name} is called as files of labels are, and was not read: {error}")
            return None
        if not self.matching.any(table, path):
            if likely:
                self.remarks.say(f"{name} is called as files of labels are, and names none of these files")
            return None
        if table.word == _BOXES:
            raise UserError(
                f"{self.where}: {name} annotates objects in pictures, as COCO does, and gives pictures no class: "
                "give --labels none, or a listing with a class for each"
            )
        if (found := columns.labels(table, path, self.options, self.remarks)) is None:
            if likely:
                raise UserError(
                    f"{self.where}: {name} has no column of labels that is known: name it with --label_column, or give "
                    "--labels none"
                )
            return None
        if tells_splits(stem, found[0]):
            raise UserError(
                f"{self.where}: {name} is called as what tells training from test files: give --labels none, or "
                f"--labels {name} if it holds classes"
            )
        return Found(self._of_all(table, path, found[0]), found[1])

    def _opened(self, name: str) -> tables.Table:
        data = self._bytes(name)
        if name.lower().endswith(".json"):
            content = tables.loads(name, data.decode("utf-8-sig", "replace"))
            if tables.is_coco(content) and isinstance(content["images"], list):
                rows = [row for row in content["images"] if isinstance(row, dict)]
                return tables.Table(name, {"file_name": "file_name"}, list(enumerate(rows, 1)), _BOXES)
        return tables.read(name, data)

    def _of_all(self, table: tables.Table, path: str, labels: Sequence[Any]) -> list[Any]:
        return self._all(table.name, self.matching.values(table, path, labels, self.remarks))

    def _all(self, name: str, values: Mapping[str, Any]) -> list[Any]:
        """The value of each sample. Raises UserError where one has none."""
        missing = [sample for sample in self.samples if sample not in values]
        if missing:
            raise UserError(
                f"{name} has no label for {len(missing):,} of {len(self.samples):,} files in {self.where}, such as "
                f"{missing[0]}: add them, or give --labels none or folders"
            )
        return [values[sample] for sample in self.samples]

    # A file beside each sample.

    def _cls(self) -> Found | None:
        """Labels from the .cls files beside samples."""
        if not (names := self._sidecars("cls")):
            return None
        values = [self._bytes(name).decode("utf-8", "replace") if name in self.others else None for name in names]
        self.remarks.say("labels are taken from the .cls files; --labels folders takes the folders as classes")
        return Found(values)

    def _json(self) -> Found | None:
        """Labels from the .json files beside samples, where one of the first has a key that is called as labels are."""
        if not (names := self._sidecars("json")):
            return None
        there = islice((name for name in names if name in self.others), _FIRST)
        first = [key for name in there for key in self._object(name)]
        keys = (self.options.label_column,) if self.options.label_column else columns.LABELS[:8]
        if (key := next((key for key in keys if key in first), None)) is None:
            return None
        self.remarks.say(f"labels are '{key}' of the .json files; --labels none leaves them out")
        return Found([self._object(name).get(key) if name in self.others else None for name in names])

    def _object(self, name: str) -> dict[str, Any]:
        content = tables.loads(name, self._bytes(name).decode("utf-8-sig", "replace"))
        return content if isinstance(content, dict) else {}

    def _sidecars(self, kind: str) -> list[str]:
        """What the file beside each sample is called; empty: there is none."""
        names = [f"{sample.rpartition('.')[0]}.{kind}" for sample in self.samples]
        return names if any(name in self.others for name in names) else []


def _class_of(name: str, label: Any) -> Any:
    """A label of StyleGAN's: a number, or a vector with a single 1."""
    if not isinstance(label, list):
        return label
    if sorted(label, key=str) and all(value in (0, 1) for value in label) and sum(label) == 1:
        return [float(value) for value in label].index(1.0)
    raise UserError(
        f"{name}: a label is a vector of {len(label)} numbers, and no class: give --labels none, or write class numbers"
    )
