"""The page of an evaluation: HTML with every picture, and every sound, inside."""

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragdist import modalities
from ragdist.evaluation.report import history
from ragdist.evaluation.samples import GeneratorSamples
from ragdist.evaluation.source import Opened
from ragdist.evaluation.steps import Evaluation
from ragdist.generation import sampling
from ragdist.metrics.measure import Comparison, Figure
from ragdist.modalities import pictures
from ragdist.tools import charts

_COLUMNS, _ROWS = 10, 8  # of samples
_PAIRS, _WAYS, _FRAMES, _CLASSES = 16, 6, 10, 10
_LOSSES = ("loss_g", "loss_d")

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem } h3 { font-size: .95rem; margin: .5rem 0 .2rem }
table { border-collapse: collapse } th, td { padding: .15rem .8rem .15rem 0; text-align: left }
tr { border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent) }
.pairs { margin-bottom: 1rem } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.of, p.small, pre { font-size: .82rem }
table.beside { font-size: .82rem; display: block; overflow-x: auto }
td.of, p.small { opacity: .75 } pre { overflow-x: auto }
img { max-width: 100%; border-radius: 3px } svg { max-width: 100%; height: auto }
.side { display: flex; flex-wrap: wrap; gap: 1.5rem }
.legend span { margin-right: 1.2rem; font-size: .82rem }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px }
"""


def build(
    found: Evaluation,
    opened: Opened,
    protocol: list[str],
    cells: Callable[[Figure], tuple[str, ...]],
    earlier: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
) -> str:
    """Build the page as HTML.

    Args:
        found: the evaluation.
        opened: the evaluated samples and the reference data, for pictures.
        protocol: the protocol in lines.
        cells: a figure's row of the table.
        earlier: rows of `history.remember`.
        metrics: rows of the run's metrics.jsonl.
    """
    body = [
        *(f"<p><b>{html.escape(line)}.</b></p>" for line in found.result.headlines),
        f"<pre>{html.escape(chr(10).join(protocol))}</pre>",
        _table(found, cells),
        *map(_comparison, found.result.tables),
        *(f"<p class='small'>{html.escape(note)}.</p>" for note in found.result.notes),
        _samples(opened),
        _by_class(opened),
        _neighbours(found, opened),
        _classes(found),
        _interpolation(opened),
        _plane(found, earlier),
        _curves(earlier, metrics, modalities.making(opened.data.index.codec).units),
    ]
    return document(f"Evaluation of {found.samples['path']}", body)


def document(title: str, body: Sequence[str]) -> str:
    """A page of a title, which is text, and of parts in HTML, of which empty ones are left out."""
    title = html.escape(title)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head = f"<head>{head}<style>{STYLE}</style></head>"
    content = "\n".join(part for part in (f"<h1>{title}</h1>", *body) if part)
    return f'<!doctype html>\n<html lang="en">{head}<body>\n{content}\n</body></html>\n'


def _table(found: Evaluation, cells: Callable[[Figure], tuple[str, ...]]) -> str:
    rows = []
    for figure in found.result.figures:
        title, value, error, ideal, of = map(html.escape, cells(figure))
        rows.append(
            f'<tr><td>{title}</td><td class="n">{value}</td><td class="n">{error}</td><td class="n">{ideal}</td>'
            f'<td class="of">{of}</td></tr>'
        )
    head = "<tr><th>measure</th><th>value</th><th>error</th><th>best</th><th>of</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _comparison(table: Comparison) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in ("", *table.columns.values()))
    rows = []
    for title, values in table.rows:
        cells = "".join(f'<td class="n">{html.escape(compared(value))}</td>' for value in values)
        rows.append(f"<tr><td>{html.escape(title)}</td>{cells}</tr>")
    return section(html.escape(table.title), f'<table class="beside"><tr>{head}</tr>{"".join(rows)}</table>')


def number(value: float | None, digits: int = 4) -> str:
    """A figure as people read it; empty where there is none."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}g}" if abs(value) < 1e5 else f"{value:,.0f}"


def compared(value: float) -> str:
    """A figure in a column of others, whose points are to be below each other; "-" where there is none."""
    return f"{value:.3f}" if abs(value) < 1000 else number(value)


def _samples(opened: Opened) -> str:
    columns = modalities.beside(opened.data.index.codec, _COLUMNS)
    count = opened.samples.available(_ROWS * columns)
    samples = torch.cat([part.samples for part in opened.samples.batches(range(count), count)])
    return section("Samples", _html(opened, samples, columns), f"Samples 0 to {count - 1:,}.")


def _by_class(opened: Opened) -> str:
    """A row of samples for each class that a generator was asked for."""
    samples, index = opened.samples, opened.data.index
    judging = modalities.judging(index.codec)
    if not (isinstance(samples, GeneratorSamples) and samples.labelled and hasattr(judging, "html_rows")):
        return ""
    columns = modalities.beside(index.codec, _COLUMNS)
    count = samples.generator.num_classes
    names = index.classes if len(index.classes) == count else list(map(str, range(count)))
    rows = []
    for chosen in pictures.evenly(count, _CLASSES):
        made = next(sampling.sample(samples.generator, samples.seed, columns, chosen=chosen))
        rows.append((names[chosen], samples.stored(made).cpu()))
    shown = f"; {len(rows)} of {count} classes" if len(rows) < count else ""
    text = f"Samples of each class that was asked for, all of the same latents{shown}."
    return section("Samples by class", judging.html_rows(rows, index.form), text)


def _neighbours(found: Evaluation, opened: Opened) -> str:
    """Samples beside their nearest training samples: the first ones, and those that are nearest of all."""
    if (to_train := found.result.to_train) is None:
        return ""
    distance, units = to_train.distance[:, 0], modalities.making(opened.data.index.codec).units
    count = min(_PAIRS, len(distance))
    columns = modalities.beside(opened.data.index.codec, count)
    parts = []
    for what, chosen in (
        ("The first samples", range(count)),
        ("The nearest pairs", distance.argsort()[:count].tolist()),
    ):
        chosen = list(chosen)[: len(chosen) // columns * columns]
        fakes = torch.cat([next(iter(opened.samples.batches(range(i, i + 1), 1))).samples for i in chosen])
        reals, _ = found.data.samples(found.numbers[to_train.index[chosen, 0].numpy()])
        span = [float(distance[i]) for i in chosen]
        text = (
            f"{what} (above) and their nearest training {units} (below); distances {min(span):.3g} to {max(span):.3g}."
        )
        parts += [f"<div class='pairs'>{pairs}</div>" for pairs in _pairs(opened, fakes, reals, columns)]
        parts.append(f"<p class='small'>{html.escape(text)}</p>")
    return section(f"Nearest training {units}", "".join(parts))


def _pairs(opened: Opened, samples: Tensor, others: Tensor, columns: int) -> list[str]:
    """Samples beside others: by the modality, else so many in a row, and the others below them."""
    index = opened.data.index
    judging = modalities.judging(index.codec)
    if hasattr(judging, "html_pairs"):
        return [judging.html_pairs(samples, others, index.form)]
    pairs = zip(samples.split(columns), others.split(columns), strict=True)
    return [_html(opened, torch.cat(pair), columns) for pair in pairs]


def _classes(found: Evaluation) -> str:
    counts = found.result.fake_counts
    if counts is None:
        return ""
    names, reals = (
        found.data.index.classes,
        np.bincount(found.data.labels[found.data.labels >= 0], minlength=len(counts)),
    )
    shown = pictures.evenly(len(names), 60)
    shares = {
        "samples": [float(counts[i] / counts.sum()) for i in shown],
        "data": [float(reals[i] / reals.sum()) for i in shown],
    }
    return section("Classes", charts.bars([names[i] for i in shown], shares, "share"), "By the classifier's judgement.")


def _interpolation(opened: Opened) -> str:
    samples = opened.samples
    if not isinstance(samples, GeneratorSamples):
        return ""
    columns = modalities.beside(opened.data.index.codec, _FRAMES)
    steps = sampling.interpolate(samples.generator, samples.seed, _WAYS, 2, columns - 1, closed=False)
    frames = [samples.stored(step) for step in steps]
    rows = torch.stack(frames, 1).flatten(0, 1).cpu()
    text = "Each row goes from one latent to another; a jump is a hole, an even row is a collapse."
    return section("Between latents", _html(opened, rows, columns), text)


def _plane(found: Evaluation, earlier: list[dict[str, Any]]) -> str:
    """Precision against recall, with earlier evaluations."""
    planes = []
    for x, y in (("recall", "precision"), ("coverage", "density")):
        if found.result.value(x) is None:
            continue
        pairs = [(row["figures"].get(x), row["figures"].get(y)) for row in earlier]
        points = [(a, min(b, 1.0)) for a, b in pairs if a is not None and b is not None]
        points = points or [(found.result.value(x), min(found.result.value(y), 1.0))]
        planes.append(f"<div>{charts.plane(points, x, y)}</div>")
    if not planes:
        return ""
    text = "The large point is this evaluation, small ones are earlier ones of its protocol. Density is drawn up to 1."
    return section("Precision and recall", f'<div class="side">{"".join(planes)}</div>', text)


def _curves(earlier: list[dict[str, Any]], metrics: list[dict[str, Any]], units: str) -> str:
    curves = []
    if len(earlier) > 1:
        for names in (("frechet_distance",), ("precision", "recall", "coverage"), ("memorization_ratio",)):
            series = {
                name: [(row["samples"], value) for row in earlier if (value := row["figures"].get(name)) is not None]
                for name in names
            }
            curves.append(charts.lines(series, units, names[0] if len(names) == 1 else ""))
    curves.append(charts.lines({name: history.curve(metrics, name) for name in _LOSSES}, units, "loss"))
    curves.append(charts.lines({"": history.curve(metrics, "relative_distance")}, units, "relative distance"))
    curves = [f"<div>{curve}</div>" for curve in curves if curve]
    return section("Over the training", f'<div class="side">{"".join(curves)}</div>') if curves else ""


def section(title: str, content: str, text: str = "") -> str:
    """A section of a page, with a small text below, as HTML."""
    below = f"<p class='small'>{html.escape(text)}</p>" if text else ""
    return f"<h2>{title}</h2>{content}{below}"


def legend(items: Sequence[tuple[str, str]]) -> str:
    """The legend of several charts, from (colour, text), as HTML."""
    spans = "".join(f'<span><i style="background:{colour}"></i>{html.escape(text)}</span>' for colour, text in items)
    return f'<div class="legend">{spans}</div>'


def _html(opened: Opened, samples: Tensor, columns: int) -> str:
    """Stored samples inside of the page."""
    index = opened.data.index
    return modalities.judging(index.codec).html(samples, index.form, columns)
