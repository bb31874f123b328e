"""Pictures as SVG: a point for every training, by objective or over learning rates, and samples in the plane."""

import math
import statistics
from typing import Any

from matplotlib.figure import Figure

from ragdist.tools.charts import COLOURS, canvas, drawn, framed
from ragdist.tools.scales import Scale

_ROW, _WIDTH = 18, 640
_TILE = 120


@drawn(page=False)
def dots(groups: dict[tuple[str, str], list[dict[str, Any]]], figure: str, title: str) -> Figure:
    """A row for each (loss, variant): a dot for each seed's last figure, a bar at their median; logarithmic."""
    values = {name: [row["looks"][-1][figure] for row in rows if row["looks"]] for name, rows in groups.items()}
    values = {name: [v for v in row if math.isfinite(v)] for name, row in values.items()}
    scale = _logarithmic([v for row in values.values() for v in row])
    rows = Scale(names=[str(number) for number in range(len(values))])
    picture, axes = framed(scale, rows, _WIDTH, 60 + _ROW * len(values))
    losses = list(dict.fromkeys(loss for loss, _ in values))
    places = [(number + 0.5) / len(values) for number in range(len(values))]
    for y, ((loss, _), row) in zip(places, values.items(), strict=True):
        colour = COLOURS[losses.index(loss) % len(COLOURS)]
        axes.plot([_within(scale, v) for v in row], [y] * len(row), "o", color=colour, alpha=0.6, ms=7, mew=0)
        if row:
            axes.plot([_within(scale, statistics.median(row))], [y], "|", color=colour, ms=14, mew=2.5)
    axes.set_yticks(places, [f"{loss}, {variant}" for loss, variant in values])
    axes.set_title(f"{title} (less is better)", fontweight="bold", loc="left")
    axes.set_ylim(1, 0)
    axes.spines.left.set_visible(False)
    axes.grid(False, axis="y")
    axes.grid(axis="x", color="#ccc", linewidth=1)
    return picture


@drawn(page=False)
def over_rates(curves: dict[tuple[str, str], dict[float, list[float]]], title: str) -> Figure:
    """A line through the medians for each (loss, variant), with a dot for each seed; both axes logarithmic.

    Args:
        curves: the seeds' figures by learning rate; the first variant's lines are dashed.
        title: what the figures are.
    """
    y = _logarithmic([v for curve in curves.values() for row in curve.values() for v in row])
    rates = sorted({rate for curve in curves.values() for rate in curve})
    x = Scale("times the learning rates", rates[0] / 1.15, rates[-1] * 1.15, log=True)
    picture, axes = framed(x, y, _WIDTH, 330)
    losses, variants = (list(dict.fromkeys(name[i] for name in curves)) for i in (0, 1))
    lines = []
    for (loss, variant), curve in curves.items():
        colour = COLOURS[losses.index(loss) % len(COLOURS)]
        there = {rate: row for rate, row in sorted(curve.items()) if row}
        medians = [_within(y, statistics.median(row)) for row in there.values()]
        style = (0, (3, 2)) if variant == variants[0] else "-"
        lines += axes.plot(list(map(x.share, there)), medians, color=colour, lw=2, linestyle=style)
        shift = 0.012 * (variants.index(variant) - (len(variants) - 1) / 2)  # side by side, not on top of each other
        seeds = [(x.share(rate) + shift, _within(y, v)) for rate, row in there.items() for v in row if math.isfinite(v)]
        axes.plot([a for a, _ in seeds], [b for _, b in seeds], "o", color=colour, alpha=0.5, ms=6, mew=0)
    axes.set_xticks(list(map(x.share, rates)), [f"{rate:g}" for rate in rates])
    axes.set_title(f"{title} (less is better)", fontweight="bold", loc="left")
    picture.legend(lines, [f"{loss}, {variant}" for loss, variant in curves], loc="outside right upper", handlelength=2)
    return picture


@drawn(page=False)
def planes(points: dict[tuple[str, str], list[list[float]]]) -> Figure:
    """Samples in the square from -1 to 1: a row of tiles for each loss, a column for each variant."""
    losses, variants = (list(dict.fromkeys(name[i] for name in points)) for i in (0, 1))
    picture = canvas(_TILE * len(variants) + 24, _TILE * len(losses) + 24)
    tiles = picture.subplots(len(losses), len(variants), squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for line, loss in enumerate(losses):
        for column, variant in enumerate(variants):
            axes = tiles[line, column]
            axes.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
            axes.spines[:].set(visible=True, color="#bbb")
            here = [point for point in points.get((loss, variant), []) if max(map(abs, point)) <= 1]
            ends = [end for a, b in here for end in ((a, b), (a, b), (math.nan, math.nan))]  # a line of no length each:
            xs, ys = zip(*ends, strict=True) if ends else ((), ())  # its round ends are a dot, in a tenth of the bytes
            axes.plot(xs, ys, color=COLOURS[line % len(COLOURS)], lw=1.6)
        tiles[line, 0].set_ylabel(loss, fontweight="bold")
    for axes, variant in zip(tiles[0], variants, strict=True):
        axes.set_title(variant)
    return picture


def _logarithmic(values: list[float]) -> Scale:
    return Scale.of("", [v for v in values if math.isfinite(v) and v > 0], log=True)


def _within(scale: Scale, value: float) -> float:
    """The share of a value; one below the scale, as zero, lies at its end."""
    return scale.share(max(value, scale.low))
