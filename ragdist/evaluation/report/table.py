"""The report of an evaluation: a table, evaluation.json, evaluation.html, a line of the run's history."""

import json
from pathlib import Path
from typing import Any

from ragdist import modalities
from ragdist.evaluation.report import history, page
from ragdist.evaluation.source import Opened
from ragdist.evaluation.steps import Evaluation
from ragdist.metrics.measure import Comparison, Figure
from ragdist.storage.files import write_whole

JSON, PAGE = "evaluation.json", "evaluation.html"


def lines(found: Evaluation) -> list[str]:
    """Lines for a terminal: the protocol, a table of the figures, the notes."""
    rows = [("measure", "value", "+-", "best", "of")]
    rows += [cells(figure) for figure in found.result.figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    table = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    ]
    compared = [line for comparison in found.result.tables for line in ("", *_compared(comparison))]
    notes = (f"note: {note}" for note in found.result.notes)
    return [*found.result.headlines, *protocol_lines(found), "", *table, *compared, *notes]


def _compared(table: Comparison) -> list[str]:
    rows = [(f"{table.title}:", *table.columns.values())]
    rows += [(title, *(page.compared(value) for value in values)) for title, values in table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([f"{row[0]:<{widths[0]}}", *(f"{x:>{w}}" for x, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def cells(figure: Figure) -> tuple[str, str, str, str, str]:
    """Cells of a figure's row: title, value, error, ideal value, features."""
    return figure.title, page.number(figure.value), page.number(figure.error, 2), figure.ideal, figure.of


def protocol_lines(found: Evaluation) -> list[str]:
    """The protocol in lines."""
    samples, protocol = found.samples, found.protocol
    features, data = protocol["features"], protocol["data"]
    lines = [
        f"{samples['path']}: {_judged(samples, modalities.making(found.data.index.codec).units)}",
        f"samples   {protocol['samples']:,}, seed {protocol['seed']}, labels: {samples.get('labels', 'unknown')}, "
        f"{protocol['quantization']}",
        f"reals     {protocol['reals']:,} of {protocol['of_reals']:,} ({data['split']}) of {data['where']} "
        f"{data['digest'][:8]}, {'features from the cache' if protocol['reals_cached'] else 'features computed'}",
        f"features  {features['name']} {features['sha256'][:8]}, {features['dim']:,} numbers, {features['resizing']}",
    ]
    if about := protocol["classifier"]:
        lines.append(
            f"          classifier {about['sha256'][:8]}: trained on {about['trained_on']:,} reals, right on "
            f"{about['accuracy']:.1%} of {about['held_out']:,} others"
        )
    if held := protocol["held_out"]:
        lines.append(f"held out  {held['samples']:,} of {held['where']} {held['digest'][:8]}")
    return lines


def _judged(samples: dict[str, Any], units: str) -> str:
    """What was judged, in words."""
    if samples["kind"] == "generator":
        return f"generator after {samples['seen']:,} {units}"
    if samples["kind"] == "data":
        return f"data set {samples['digest'][:8]}"
    files = f"{samples['files']:,} file" + "s" * (samples["files"] > 1)
    return f"{files} of {held:,} {units}" if (held := samples.get("held")) else files


def write(folder: Path, found: Evaluation, opened: Opened) -> Path:
    """Write evaluation.json, the history of a run or generator, and the page, whose path is returned."""
    write_whole(folder / JSON, json.dumps(found.content(), indent=1) + "\n")
    metrics = history.read_lines(opened.run.metrics) if opened.run else []
    since = next((row["time"] for row in metrics if "time" in row), 0.0)
    earlier = history.remember(folder, found, since, opened.run and opened.run.path)
    write_whole(folder / PAGE, page.build(found, opened, protocol_lines(found), cells, earlier, metrics))
    return folder / PAGE
