"""A comparison of runs as lines for a terminal, and as a page with all figures and curves."""

import html
import statistics
from typing import Any

from ragdist.evaluation.compare import Comparison, Row, Spread
from ragdist.evaluation.compare_runs import SEED
from ragdist.evaluation.report import page
from ragdist.tools import charts

_NOT_JUDGED = "-"


def spread(found: Spread | None) -> str:
    """A figure as people read it: the median, and the least to the most where there are several."""
    if found is None:
        return _NOT_JUDGED
    if found.count == 1:
        return page.number(found.median, 3)
    return f"{page.number(found.median, 3)} ({page.number(found.least, 3)} to {page.number(found.most, 3)})"


def lines(found: Comparison) -> list[str]:
    """Lines for a terminal: the protocols, a row for runs that differ only in the seed, the notes."""
    several = len(found.protocols) > 1
    head = [*found.differing, SEED, *(["protocol"] if several else []), *found.shown]
    table = [head]
    for row in found.rows:
        figures = [spread(row.figures.get(name)) + " *" * (name in row.best) for name in found.shown]
        table.append([*_options(row, found), *([row.protocol or _NOT_JUDGED] if several else []), *figures])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    best = ["* the best median"] if any(set(found.shown) & row.best for row in found.rows) else []
    return [*protocol_lines(found), "", *rows, *best, *(f"note: {note}" for note in found.notes)]


def _options(row: Row, found: Comparison) -> list[str]:
    """Cells of a row's options and of its seeds."""
    seeds = [str(run.seed) for run in row.runs]
    return [*(str(row.options[name]) for name in found.differing), ",".join(seeds)]


def protocol_lines(found: Comparison) -> list[str]:
    """What was judged by each protocol, a line each."""
    return [f"{letter}  {_protocol(key, about)}" for letter, (key, about) in found.protocols.items()]


def _protocol(key: str, about: dict[str, Any]) -> str:
    if "data" not in about:
        return f"protocol {key}: {about['on_the_way']}"
    data, features, held = about["data"], about["features"], about["held_out"]
    return (
        f"protocol {key}: {about['samples']:,} samples by {about['reals']:,} reals of {data['where']} "
        f"{data['digest'][:8]}, features {features['name']} {features['sha256'][:8]}, seed {about['seed']}"
        + (f", held out {held['where']}" if held else "")
    )


def build(found: Comparison) -> str:
    """The page as HTML, with all pictures inside."""
    runs = sum(len(row.runs) for row in found.rows)
    body = [
        f"<pre>{html.escape(chr(10).join(protocol_lines(found)))}</pre>",
        page.section("Figures", _figures(found), "Median (least to most) over seeds; the best median is bold."),
        *(f"<p class='small'>{html.escape(note)}.</p>" for note in found.notes),
        _curves(found),
        page.section("Runs", _runs(found)),
    ]
    return page.document(f"Comparison of {runs} runs", body)


def _figures(found: Comparison) -> str:
    """The table on its side, for there are more figures than rows."""
    rows = [("number", [str(number) for number in range(1, len(found.rows) + 1)])]
    rows += [(name, [str(row.options[name]) for row in found.rows]) for name in found.differing]
    rows.append((f"{SEED}s", [", ".join(str(run.seed) for run in row.runs) for row in found.rows]))
    rows.append(("samples seen", [_seen(row) for row in found.rows]))
    rows.append(("protocol", [row.protocol or _NOT_JUDGED for row in found.rows]))
    lines = [_cells("th", title, map(html.escape, values)) for title, values in rows]
    for name in found.figures:
        values = ((spread(row.figures.get(name)), name in row.best) for row in found.rows)
        cells = (f"<b>{text}</b>" if best else text for text, best in values)
        ideal = found.ideals.get(name, "")
        lines.append(_cells("td", found.titles.get(name, name) + (f" ({ideal})" if ideal else ""), cells))
    return f"<table class='beside'>{''.join(lines)}</table>"


def _cells(kind: str, title: str, values) -> str:
    cells = "".join(f'<{kind} class="n">{value}</{kind}>' for value in values)
    return f"<tr><{kind}>{html.escape(title)}</{kind}>{cells}</tr>"


def _seen(row: Row) -> str:
    seen = [run.evaluation.seen for run in row.runs if run.evaluation]
    if not seen:
        return _NOT_JUDGED
    return f"{seen[0]:,}" if min(seen) == max(seen) else f"{min(seen):,} to {max(seen):,}"


def _runs(found: Comparison) -> str:
    """Every run, and what is known of its training."""
    head = "".join(f"<th>{name}</th>" for name in ("run", "seed", "samples seen", "samples/s", "ended"))
    rows = []
    for row in found.rows:
        for run in row.runs:
            known = run.summary
            seen = f"{known['samples']:,}" if "samples" in known else ""
            cells = (run.where, str(run.seed), seen, page.number(known.get("samples_per_second"), 3),
                     str(known.get("finished", "not finished")))  # fmt: skip
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _curves(found: Comparison) -> str:
    """Medians over seeds of evaluations on the way, a chart for each figure of the table."""
    parts = []
    for name in found.shown:
        series = {str(number): _curve(row, name) for number, row in enumerate(found.rows, 1)}
        if chart := charts.lines({title: points for title, points in series.items() if len(points) > 1},
                                 "samples seen", found.titles.get(name, name)):  # fmt: skip
            parts.append(f"<div>{chart}</div>")
    text = (
        "Medians over seeds of evaluations on the way (--evaluate_every), each row's of one protocol; numbers "
        "are those of the table."
    )
    return page.section("Over the training", f'<div class="side">{"".join(parts)}</div>', text) if parts else ""


def _curve(row: Row, name: str) -> list[tuple[float, float]]:
    """A figure's medians over the row's runs, by samples seen, by the protocol that most evaluations have."""
    every = [one for run in row.runs for one in run.evaluations]
    keys = [one.protocol for one in every]
    common = max(sorted(set(keys)), key=keys.count, default="")
    values: dict[int, list[float]] = {}
    for one in every:
        value = one.figures.get(name)
        if one.protocol == common and value is not None:
            values.setdefault(one.seen, []).append(value)
    return [(float(seen), statistics.median(found)) for seen, found in sorted(values.items())]
