"""Pictures as SVG: a point for every training, by objective or over learning rates, and samples in the plane."""

import html
import math
import statistics
from typing import Any

from ragdist.evaluation.report.svg import COLOURS, short, ticks

_ROW, _LEFT, _WIDTH, _TOP = 18, 250, 640, 34
_TILE = 120


def dots(groups: dict[tuple[str, str], list[dict[str, Any]]], figure: str, title: str) -> str:
    """A row for each (loss, variant): a dot for each seed's last figure, a bar at their median; logarithmic."""
    values = {name: [row["looks"][-1][figure] for row in rows if row["looks"]] for name, rows in groups.items()}
    every = [v for row in values.values() for v in row if math.isfinite(v) and v > 0]
    low, high = math.log10(min(every)) - 0.05, math.log10(max(every)) + 0.05

    def x(value: float) -> float:
        return _LEFT + (math.log10(max(value, 10**low)) - low) / (high - low) * (_WIDTH - _LEFT - 20)

    height = _TOP + _ROW * len(values) + 26
    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{html.escape(title)} (less is better)</text>']
    for tick in log_ticks(low, high):
        parts.append(f'<path d="M{x(tick):.1f} {_TOP}V{height - 24}" stroke="#ccc"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{short(tick)}</text>')
    losses = list(dict.fromkeys(loss for loss, _ in values))
    for number, ((loss, variant), row) in enumerate(values.items()):
        y, colour = _TOP + _ROW * (number + 0.5), COLOURS[losses.index(loss) % len(COLOURS)]
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{html.escape(f"{loss}, {variant}")}</text>')
        row = [v for v in row if math.isfinite(v)]
        parts += [f'<circle cx="{x(v):.1f}" cy="{y}" r="3.5" fill="{colour}" fill-opacity="0.6"/>' for v in row]
        if row:
            middle = x(statistics.median(row))
            parts.append(f'<path d="M{middle:.1f} {y - 7}v14" stroke="{colour}" stroke-width="2.5"/>')
    return _svg(_WIDTH, height, parts)


def over_rates(curves: dict[tuple[str, str], dict[float, list[float]]], title: str) -> str:
    """A line through the medians for each (loss, variant), with a dot for each seed; both axes logarithmic.

    Args:
        curves: the seeds' figures by learning rate; the first variant's lines are dashed.
        title: what the figures are.
    """
    every = [v for curve in curves.values() for row in curve.values() for v in row if math.isfinite(v) and v > 0]
    low, high = math.log10(min(every)) - 0.05, math.log10(max(every)) + 0.05
    rates = sorted({rate for curve in curves.values() for rate in curve})
    left, right, top, bottom = 52, _WIDTH - 190, _TOP, 280

    def x(rate: float) -> float:
        span = math.log(rates[-1] / rates[0]) or 1.0
        return left + 20 + math.log(rate / rates[0]) / span * (right - left - 40)

    def y(value: float) -> float:
        return bottom - (math.log10(max(value, 10**low)) - low) / (high - low) * (bottom - top)

    parts = [f'<text x="{left}" y="18" font-weight="bold">{html.escape(title)} (less is better)</text>']
    for tick in log_ticks(low, high):
        parts.append(f'<path d="M{left} {y(tick):.1f}H{right}" stroke="#ccc"/>')
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for rate in rates:
        parts.append(f'<text x="{x(rate):.1f}" y="{bottom + 18}" text-anchor="middle">{rate:g}</text>')
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">times the learning rates</text>'
    )
    losses, variants = (list(dict.fromkeys(name[i] for name in curves)) for i in (0, 1))
    for number, ((loss, variant), curve) in enumerate(curves.items()):
        colour = COLOURS[losses.index(loss) % len(COLOURS)]
        stroke = f'stroke="{colour}" stroke-width="2"' + (' stroke-dasharray="6 4"' if variant == variants[0] else "")
        line = " ".join(f"{x(rate):.1f},{y(statistics.median(row)):.1f}" for rate, row in sorted(curve.items()) if row)
        parts.append(f'<polyline points="{line}" fill="none" {stroke}/>')
        shift = 5 * (variants.index(variant) - (len(variants) - 1) / 2)  # side by side, not on top of each other
        parts += [
            f'<circle cx="{x(rate) + shift:.1f}" cy="{y(v):.1f}" r="3" fill="{colour}" fill-opacity="0.5"/>'
            for rate, row in curve.items()
            for v in row
            if math.isfinite(v)
        ]
        at = top + 10 + 18 * number
        parts.append(f'<path d="M{right + 14} {at}h26" {stroke}/>')
        parts.append(f'<text x="{right + 46}" y="{at + 4}">{html.escape(f"{loss}, {variant}")}</text>')
    return _svg(_WIDTH, bottom + 46, parts)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten: 1, 2 and 5 times such powers, or evenly spaced where they are few."""
    every = [factor * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for factor in (1, 2, 5)]
    found = [tick for tick in every if low <= math.log10(tick) <= high]
    return found if len(found) >= 3 else [tick for tick in ticks(10**low, 10**high) if low <= math.log10(tick) <= high]


def planes(points: dict[tuple[str, str], list[list[float]]]) -> str:
    """Samples in the square from -1 to 1: a row of tiles for each loss, a column for each variant."""
    losses, variants = (list(dict.fromkeys(name[i] for name in points)) for i in (0, 1))
    parts = []
    for column, variant in enumerate(variants):
        parts.append(f'<text x="{(column + 0.5) * _TILE}" y="14" text-anchor="middle">{html.escape(variant)}</text>')
    for line, loss in enumerate(losses):
        top = 22 + line * (_TILE + 18)
        parts.append(f'<text x="4" y="{top + 11}" font-weight="bold">{html.escape(loss)}</text>')
        for column, variant in enumerate(variants):
            left, base = column * _TILE + 3, top + 15
            side = _TILE - 6
            parts.append(f'<rect x="{left}" y="{base}" width="{side}" height="{side}" fill="none" stroke="#bbb"/>')
            circles = "".join(
                f"M{left + (px + 1) / 2 * side:.1f} {base + (1 - py) / 2 * side:.1f}h.01"
                for px, py in points.get((loss, variant), [])
            )
            colour = COLOURS[line % len(COLOURS)]
            parts.append(f'<path d="{circles}" stroke="{colour}" stroke-width="1.6" stroke-linecap="round"/>')
    return _svg(_TILE * len(variants), 22 + len(losses) * (_TILE + 18) + 4, parts)


def _svg(width: int, height: int, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
