"""The report of outlier scores: a table, outliers.csv, outliers.json, outliers.html."""

import csv
import html
import io
import json
from pathlib import Path

from torch import Tensor

from ragdist import modalities
from ragdist.evaluation.outliers.find import Found
from ragdist.evaluation.outliers.scores import BASELINE, SCORES, Title
from ragdist.evaluation.report import page
from ragdist.metrics.ranking import roc
from ragdist.storage.files import write_whole
from ragdist.tools import charts

CSV, JSON, PAGE = "outliers.csv", "outliers.json", "outliers.html"
_LISTED = 5  # samples that a terminal names where there are no labels
_SHOWN_BY = "combined"
_COLUMNS = ("auroc", "aupr")


def lines(found: Found) -> list[str]:
    """Lines for a terminal: what was compared, by which protocol, and the figures or the least typical samples."""
    about, data = found.networks.about, found.given
    units = modalities.making(found.networks.codec).units
    made = f"{found.options.samples:,} generated, seed {found.options.seed}"
    sought = f", latents sought in {found.options.invert:,} steps" if found.options.invert else ""
    first = [
        f"{about['run']}: D and G after {about['seen']:,} {units} ({about['checkpoint']})",
        f"samples   {len(found.scored.numbers):,} of {data.where}{' ' + data.digest[:8] if data.digest else ''}",
        f"nearest   of {made}{sought}",
    ]
    if found.protocol is None:
        return [*first, "", *_least_typical(found), *_notes(found)]
    rows = [("score", "AUROC", "AUPR")]
    rows += [(title(found, name).short, f"{f.auroc:.4f}", f"{f.aupr:.4f}") for name, f in found.figures.items()]
    rows.append(("chance", "0.5000", f"{chance(found):.4f}"))
    width = max(len(row[0]) for row in rows)
    table = [f"{name:<{width}}  {a:>6}  {b:>6}" for name, a, b in rows]
    return [*first, f"protocol  {found.protocol.sentence()}", "", *table, *_notes(found)]


def title(found: Found, name: str) -> Title:
    """Words about a score, with what the modality's points are."""
    points = getattr(found.networks.modality, "points_are", "points")
    return Title(*(text.replace("{points}", points) for text in SCORES[name]))


def chance(found: Found) -> float:
    """The AUPR of a score that says nothing: the outliers' share."""
    return float(found.protocol.outlier[found.protocol.judged].double().mean())


def _least_typical(found: Found) -> list[str]:
    name = _SHOWN_BY
    order = found.scored.columns[name].argsort(descending=True)[:_LISTED].tolist()
    rows = [f"  {found.scored.columns[name][row]:>9.4g}  {_name(found, row)}" for row in order]
    return [f"least typical by {title(found, name).long}:", *rows]


def _name(found: Found, row: int) -> str:
    return found.given.name(int(found.scored.numbers[row]))


def _notes(found: Found) -> list[str]:
    return [f"note: {note}" for note in found.notes]


def table(found: Found) -> str:
    """outliers.csv: a row for each sample, numbers as they are."""
    out = io.StringIO()
    scored, columns = found.scored, found.scored.columns
    writer = csv.writer(out, lineterminator="\n")
    more = ["nearest_sample", *([] if scored.nearest_training is None else ["nearest_training"])]
    writer.writerow(["number", "where", "label", "outlier", *columns, *more])
    for row, number in enumerate(scored.numbers.tolist()):
        label = int(scored.labels[row])
        chosen = found.protocol
        outlier = "" if chosen is None or not chosen.judged[row] else int(chosen.outlier[row])
        near = [int(scored.nearest_sample[row])]
        near += [] if scored.nearest_training is None else [int(scored.nearest_training[row])]
        values = [f"{float(column[row]):.9g}" for column in columns.values()]
        name = found.given.classes[label] if label >= 0 else ""
        writer.writerow([number, _name(found, row), name, outlier, *values, *near])
    return out.getvalue()


def write(folder: Path, found: Found) -> Path:
    """Write the files; the page's path."""
    write_whole(folder / CSV, table(found).encode("utf-8", "surrogateescape"))
    write_whole(folder / JSON, json.dumps(found.content(), indent=1) + "\n")
    write_whole(folder / PAGE, build(found))
    return folder / PAGE


def build(found: Found) -> str:
    """The page as HTML, with all pictures inside."""
    name = _SHOWN_BY
    order = found.scored.columns[name].argsort(stable=True)
    count = min(found.options.shown, len(order))
    above = lines(found)
    above = above[: above.index("")]
    body = [
        f"<pre>{html.escape(chr(10).join(above))}</pre>",
        _figures(found),
        *(f"<p class='small'>{html.escape(note)}.</p>" for note in found.notes),
        _shown(found, order.flip(0)[:count], name, "Least typical"),
        _shown(found, order[:count], name, "Most typical"),
        _of_kind(found, name, count),
    ]
    return page.document(f"Outliers of {found.given.where} by {found.networks.about['run']}", body)


def _figures(found: Found) -> str:
    if found.protocol is None:
        titles = [title(found, name) for name in found.scored.columns]
        cells = (f"<td>{html.escape(t.short)}</td><td class='of'>{html.escape(t.long)}</td>" for t in titles)
        rows = "".join(f"<tr>{cell}</tr>" for cell in cells)
        return page.section("Scores", f"<table>{rows}</table>", "There are no labels that say which are outliers.")
    rows = []
    best = {c: max(getattr(f, c) for name, f in found.figures.items() if name != BASELINE) for c in _COLUMNS}
    for name, figures in found.figures.items():
        values = [(getattr(figures, c), name != BASELINE and getattr(figures, c) == best[c]) for c in _COLUMNS]
        cells = "".join(f'<td class="n">{"<b>" * top}{v:.4f}{"</b>" * top}</td>' for v, top in values)
        short, long = map(html.escape, title(found, name))
        rows.append(f"<tr><td>{short}</td>{cells}<td class='of'>{long}</td></tr>")
    rows.append(f'<tr><td>chance</td><td class="n">0.5000</td><td class="n">{chance(found):.4f}</td><td></td></tr>')
    head = "<tr><th>score</th><th>AUROC</th><th>AUPR</th><th></th></tr>"
    kept = found.protocol.judged
    curves = {
        name: roc(found.scored.columns[name][kept], found.protocol.outlier[kept])
        for name in list(found.scored.columns)[-len(charts.COLOURS) :]
    }
    chart = charts.lines(curves, "normal samples above the threshold", "outliers above it")
    text = f"Protocol: {found.protocol.name}. Figures of another protocol are no figures of this one."
    return page.section("Figures", f"<table>{head}{''.join(rows)}</table>{chart}", text)


def _of_kind(found: Found, name: str, count: int) -> str:
    """Outliers that look most typical, and normal samples that look least: where the score errs."""
    if (chosen := found.protocol) is None:
        return ""
    order, parts = found.scored.columns[name].argsort(stable=True), []
    for what, kept, rows in (
        ("Outliers that look most typical", chosen.outlier & chosen.judged, order),
        ("Normal samples that look least typical", ~chosen.outlier & chosen.judged, order.flip(0)),
    ):
        parts.append(_shown(found, rows[kept[rows]][:count], name, what))
    return "".join(parts)


def _shown(found: Found, rows: Tensor, name: str, what: str) -> str:
    """Samples above what G makes nearest to them, and what differs, where the modality shows that."""
    form, judging = found.networks.form, modalities.judging(found.networks.codec)
    rows = rows[: modalities.beside(found.networks.codec, len(rows))]
    samples = found.given.samples(found.scored.numbers[rows.numpy()])
    made = found.scorer.made(found.scored, rows)
    nearest = "of its latent" if found.scored.latents is not None else "nearest of G"
    parts = [("sample", samples), (nearest, made)]
    if hasattr(judging, "residual"):
        parts.append(("what differs", judging.residual(samples, made, form)))
    if hasattr(judging, "html_pairs"):
        shown = judging.html_pairs(samples, made, form)
    elif hasattr(judging, "html_rows"):
        shown = judging.html_rows(parts, form)
    else:
        shown = "".join(judging.html(part, form, len(part)) for _, part in parts)
    values = found.scored.columns[name][rows]
    names = [f"{_label(found, row)} {float(value):.3g}" for row, value in zip(rows.tolist(), values, strict=True)]
    text = f"{title(found, name).long}: {'; '.join(names)}."
    return page.section(html.escape(what), f"<div style='overflow-x: auto'>{shown}</div>", text)


def _label(found: Found, row: int) -> str:
    label = int(found.scored.labels[row])
    return found.given.classes[label] if label >= 0 else f"number {int(found.scored.numbers[row])}"
