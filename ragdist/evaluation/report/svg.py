"""Small charts as SVG text: lines, points, bars. They take the page's text colour, so that they suit light and dark."""

import html
import math
from collections.abc import Sequence

COLOURS = ("#4c78a8", "#e4772f", "#3a9d5d", "#b5489b")
_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 40


def lines(series: dict[str, Sequence[tuple[float, float]]], x_title: str, y_title: str = "") -> str:
    """A line for each named sequence of (x, y); values that are not finite are left out."""
    series = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    series = {name: points for name, points in series.items() if points}
    every = [point for points in series.values() for point in points]
    if not every:
        return ""
    chart = _Chart(_span([x for x, _ in every]), _span([y for _, y in every]), x_title, y_title)
    for colour, points in zip(COLOURS * len(series), series.values(), strict=False):
        path = " ".join(f"{chart.x(x):.1f},{chart.y(y):.1f}" for x, y in points)
        chart.add(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(points) <= 30:
            chart.dots(points, colour)
    return chart.text() + _legend(list(series))


def plane(points: Sequence[tuple[float, float]], x_title: str, y_title: str) -> str:
    """Points in the unit square, joined in their order; the last is the one that counts, and larger."""
    chart = _Chart((0.0, 1.0), (0.0, 1.0), x_title, y_title)
    path = " ".join(f"{chart.x(x):.1f},{chart.y(y):.1f}" for x, y in points)
    chart.add(f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" stroke-opacity="0.5"/>')
    chart.dots(points[:-1], COLOURS[0])
    chart.dots(points[-1:], COLOURS[1], radius=6)
    return chart.text()


def bars(names: Sequence[str], series: dict[str, Sequence[float]], y_title: str) -> str:
    """Groups of bars side by side, a group for each name."""
    top = max((value for values in series.values() for value in values), default=0) or 1
    chart = _Chart((0.0, float(len(names))), (0.0, top), "", y_title, width=max(_WIDTH, 28 * len(names) + 80))
    width = 0.8 / len(series)
    for number, (colour, values) in enumerate(zip(COLOURS, series.values(), strict=False)):
        for place, value in enumerate(values):
            left, right = chart.x(place + 0.1 + number * width), chart.x(place + 0.1 + (number + 1) * width)
            upper = chart.y(value)
            chart.add(
                f'<rect x="{left:.1f}" y="{upper:.1f}" width="{right - left:.1f}" '
                f'height="{chart.y(0) - upper:.1f}" fill="{colour}"/>'
            )
    for place, name in enumerate(names):
        text = html.escape(name if len(name) <= 10 else name[:9] + "...")
        x, y = chart.x(place + 0.5), chart.y(0) + 14
        turn = f' transform="rotate(-35 {x:.1f} {y})" text-anchor="end"' if len(names) > 10 or len(text) > 4 else ""
        chart.add(f'<text x="{x:.1f}" y="{y}"{turn or " text-anchor=" + chr(34) + "middle" + chr(34)}>{text}</text>')
    return chart.text(x_ticks=False) + _legend(list(series))


class _Chart:
    """Axes, and what is drawn between them."""

    def __init__(self, xs: tuple[float, float], ys: tuple[float, float], x_title: str, y_title: str, width=_WIDTH):
        self.xs, self.ys, self.x_title, self.y_title, self.width = xs, ys, x_title, y_title, width
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        low, high = self.xs
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.ys
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def add(self, part: str) -> None:
        self.parts.append(part)

    def dots(self, points: Sequence[tuple[float, float]], colour: str, radius: float = 2.5) -> None:
        for x, y in points:
            self.add(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" fill="{colour}"/>')

    def text(self, x_ticks: bool = True) -> str:
        right, bottom = self.width - _RIGHT, _HEIGHT - _BOTTOM
        axes = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.6"/>']
        for value in ticks(*self.ys):
            y = self.y(value)
            axes.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="currentColor" stroke-opacity="0.12"/>')
            axes.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
        for value in ticks(*self.xs) if x_ticks else []:
            axes.append(f'<text x="{self.x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{short(value)}</text>')
        middle = (_LEFT + right) / 2
        axes.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(self.x_title)}</text>')
        axes.append(
            f'<text x="12" y="{bottom / 2}" text-anchor="middle" transform="rotate(-90 12 {bottom / 2})">'
            f"{html.escape(self.y_title)}</text>"
        )
        body = "".join(axes + self.parts)
        return f'<svg viewBox="0 0 {self.width} {_HEIGHT}" width="{self.width}" role="img">{body}</svg>'


def short(value: float) -> str:
    """A number for an axis: 1.2M, 40k, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - abs(low) / 2 - 0.5, low + abs(low) / 2 + 0.5)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two."""
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= about)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    items = "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for colour, name in zip(COLOURS * len(names), names, strict=False)
    )
    return f'<div class="legend">{items}</div>'
