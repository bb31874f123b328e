"""The history of a run's evaluations by one protocol, and the monitor's curves."""

import hashlib
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ragdist.config import migrations
from ragdist.evaluation.steps import Evaluation
from ragdist.storage.files import write_whole
from ragdist.storage.locks import Busy, locked
from ragdist.tools.errors import Unreachable

FILE, LOCK = "evaluations.jsonl", ".evaluations.lock"
_PATIENCE = 10.0  # seconds to wait for another process, which takes a moment
# Of the protocol: only such figures are comparable. What joins them enters the key only where it is not what it was.
_SAME = ("samples", "reals", "neighbours", "seed")


def protocol_key(protocol: dict[str, Any]) -> str:
    """The identity of a protocol: evaluations that share it may be drawn as one curve."""
    content = {name: protocol[name] for name in _SAME}
    content |= {"data": protocol["data"]["digest"], "features": protocol["features"]["sha256"]}
    content |= {"held_out": protocol["held_out"] and protocol["held_out"]["digest"]}
    content |= {"code": protocol["code"]} if "code" in protocol else {}  # others' features
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def remember(folder: Path, found: Evaluation, since: float = 0.0, run: Path | None = None) -> list[dict[str, Any]]:
    """Add an evaluation to a folder's history; all rows of that protocol, by samples seen.

    One of the same protocol at the same samples takes the other's place. What was written before the time
    ``since`` is dropped: it belongs to a run that was started anew.

    Args:
        folder: a run's, or one for results of what lies elsewhere: there each has a history of its own.
        found: the evaluation.
        since: by time.time().
        run: the folder of the run that was evaluated, where it is one.

    Raises:
        Unreachable: another process keeps the file locked.

    Returns:
        [{"samples", "time", "protocol", "figures": {name: value}}, ...], those of the run's own folder among them, and
        of each the figures alone that the code measured that measures them now (`Figure.code`).
    """
    if found.seen is None:
        return []
    row = {"samples": found.seen, "time": time.time(), "protocol": protocol_key(found.protocol)}
    own = run is not None and run.resolve() == folder.resolve()
    if not own:
        row["of"] = found.samples["path"]
    figures = found.content()["figures"]
    row["figures"] = {name: figure["value"] for name, figure in figures.items()}
    if code := {name: figure["code"] for name, figure in figures.items() if "code" in figure}:
        row["code"] = code
    rows = _add(folder, row, since)
    found_here = [old for old in rows if (old["protocol"], old.get("of")) == (row["protocol"], row.get("of"))]
    if run and not own:
        here = {old["samples"] for old in found_here}
        theirs = [old for old in read_lines(run / FILE) if old.get("time", 0) >= since]
        found_here += [old for old in theirs if old.get("protocol") == row["protocol"] and old["samples"] not in here]
    until_now = [_by_the_same_code(old, row) for old in found_here if old["samples"] <= found.seen]
    return sorted(until_now, key=lambda row: row["samples"])


def code_of(row: dict[str, Any], figure: str) -> str:
    """Which code of others measured a figure of a row; empty: the project's."""
    return row.get("code", {}).get(figure, "")


def _by_the_same_code(old: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in old["figures"].items() if code_of(old, name) == code_of(row, name)}
    return {**old, "figures": kept}


def _add(folder: Path, row: dict[str, Any], since: float) -> list[dict[str, Any]]:
    path = folder / FILE
    with ExitStack() as held:
        try:  # a run that judges itself, and a command that judges it meanwhile, must not lose each other's rows
            held.enter_context(locked(folder / LOCK, seconds=_PATIENCE))
        except Busy as error:
            raise Unreachable(f"{path} is in use by {error}: wait for it or stop it") from error
        rows = [old for old in read_lines(path) if old.get("time", 0) >= since and not _same(old, row)]
        rows = sorted([*rows, row], key=lambda row: row["samples"])
        write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in ("samples", "protocol", "of"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines of any version; lines that are none are left out, as is a missing file."""
    rows = []
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                rows.append(migrations.RECORDS.migrated(row, str(path)))
    return rows


def curve(rows: list[dict[str, Any]], name: str, most: int = 300) -> list[tuple[float, float]]:
    """The curve of a metric in rows of metrics.jsonl: (samples, value), at most so many, evenly picked."""
    there = [row for row in rows if isinstance(row.get(name), int | float) and "samples" in row]
    points = [(row["samples"], row[name]) for row in there]
    step = max(len(points) // most, 1)
    return points[::step]
