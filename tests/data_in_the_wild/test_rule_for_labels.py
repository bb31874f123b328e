"""One rule for labels: what a label means does not depend on where it is written."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import as_json, in_folder, pictures, png, tar_of

NAMES = ["0.png", "1.png", "2.png"]


def as_csv(rows: list[tuple], header: tuple[str, str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue()


def lines(rows: list[tuple]) -> str:
    return "\n".join(as_json({"path": path, "label": label}) for path, label in rows)


def text(label) -> str:
    return "" if label is None else as_json(label) if isinstance(label, bool) else str(label)


def shards(labels, folder: Path, of_json: bool) -> Path:
    data = [{"json": as_json({"y": label})} if of_json else {"cls": text(label)} for label in labels]
    members = [
        (f"{i}.{kind}", content) for i, about in enumerate(data) for kind, content in [("png", png(i)), *about.items()]
    ]
    (folder / "a.tar").write_bytes(tar_of([(name, c if isinstance(c, bytes) else c.encode()) for name, c in members]))
    return folder / "a.tar"


def array(labels, folder: Path) -> Path:
    np.savez(folder / "a.npz", images=np.zeros((len(labels), 8, 8), np.uint8), labels=np.array(labels))
    return folder / "a.npz"


def beside(name: str, write):
    """Makes pictures with a file that ``write`` makes of labels; SOURCE is it, if it is a listing."""

    def make(labels, folder: Path) -> Path:
        source = name if name.startswith("a.") else ""
        return in_folder(pictures(NAMES), {name: write(labels)}, source=source)(folder)

    return make


def pairs(labels, of=lambda label: label) -> list[tuple]:
    return [(name, of(label)) for name, label in zip(NAMES, labels, strict=True)]


# Where labels are written.
PLACES = {
    "csv": beside("a.csv", lambda labels: as_csv(pairs(labels, text), ("path", "label"))),
    "jsonl": beside("a.jsonl", lambda labels: lines(pairs(labels))),
    "json": beside("a.json", lambda labels: as_json(pairs(labels))),
    "dataset.json": beside("dataset.json", lambda labels: as_json({"labels": pairs(labels)})),
    "metadata.csv": beside("metadata.csv", lambda labels: as_csv(pairs(labels, text), ("file_name", "label"))),
    "npz": array,
    "unpacked shards": lambda labels, folder: in_folder(
        pictures(NAMES), {f"{i}.cls": text(label) for i, label in enumerate(labels)}
    )(folder),
    "shards": lambda labels, folder: shards(labels, folder, of_json=False),
    "shards with json": lambda labels, folder: shards(labels, folder, of_json=True),
}

# Labels, and the classes that they are; a text: what is said.
RULE = [
    ([2, 0, 2], {"2": 2, "0": 1}),
    (["10", "2", "2"], {"10": 1, "2": 2}),
    (["007", " 3", "+1"], {"7": 1, "3": 1, "1": 1}),
    (["wolf", "bear", "wolf"], {"wolf": 2, "bear": 1}),
    (["wolf ", "wolf", " wolf"], {"wolf": 3}),
    (["3", "A", "b"], {"3": 1, "A": 1, "b": 1}),
    ([True, False, True], {"true": 2, "false": 1}),
    ([None, None, None], {None: 3}),
    (["", "", ""], {None: 3}),
    ([-1, 0, 1], "-1: classes are numbered from 0 to 999,999"),
    ([1.0, 0.0, 1.0], "1.0, no whole number|labels are float64"),
    (["1.0", "0.0", "1.0"], "1.0, no whole number"),
    ([1, "wolf", 0], "some labels are numbers|neither a whole number"),
    ([1, None, 0], "no label.* and others have"),
    (["wolf", "", "bear"], "no label.* and others have"),
    (["wolf", "nan", "bear"], "no label.* and others have"),
    (["NaN", "0", "1"], "no label.* and others have"),
    ([1, 2, 10**9], "classes are numbered from 0 to 999,999"),
    ([1, 2, 10**30], "classes are numbered from 0 to 999,999"),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "classes"), RULE, ids=str)
def test_one_rule(labels, classes, tmp_path, capsys):
    for place, make in PLACES.items():
        if place == "npz" and (None in labels or 10**30 in labels):
            continue  # which it cannot say without pickled objects
        folder = tmp_path / place
        folder.mkdir()
        said = {"taken": classes} if isinstance(classes, dict) else {"refused": classes}
        index = place.startswith("shards")
        options = ["--label=y"] if place == "shards with json" and classes != {None: 3} else []
        check(
            Case(place, lambda path, make=make: make(labels, path), **said, index=index, options=options),
            folder,
            capsys,
        )
