"""Charts of a search as SVG text: points over an option, parallel coordinates, curves. In the page's text colour."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ragdist.evaluation.report.svg import COLOURS, short

FAINT = "#8a8f98"
_WIDTH, _HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 42
_SPREAD = 8.0  # values of more than so many to one are drawn on a logarithmic axis


@dataclass(frozen=True)
class Point:
    """A trial, or one of its seeds."""

    x: Any
    y: float
    colour: str
    title: str
    radius: float = 5.0
    hollow: bool = False


@dataclass
class Scale:
    """One axis: numbers from low to high, or names. A zero on a logarithmic one has a place of its own, before it."""

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    zero: bool = False
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, title: str, values: Sequence[Any], *, log: bool | None = None) -> "Scale":
        """An axis for these values; ``log`` None: as suits them."""
        if not values or any(isinstance(value, bool | str) for value in values):
            return cls(title, names=sorted({str(value) for value in values}))
        positive = [value for value in values if value > 0]
        if log is None:
            log = bool(positive) and min(values) >= 0 and max(positive) > _SPREAD * min(positive)
        zero = log and len(positive) < len(values)
        values = positive if log else values
        if not values:
            return cls(title, 0.0, 1.0)
        low, high = min(values), max(values)
        if log:
            low, high = low / 1.15, high * 1.15
        else:
            room = (high - low) / 20 or abs(high) / 10 or 0.5
            low, high = low - room, high + room
        return cls(title, low, high, log, zero)

    def share(self, value: Any) -> float:
        """Where a value lies, from 0 to 1."""
        if self.names:
            return (self.names.index(str(value)) + 0.5) / len(self.names)
        start = 0.12 if self.zero else 0.0
        if self.log and value <= 0:
            return 0.03
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return start + (1 - start) * (value - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Shares and their labels."""
        if self.names:
            return [(self.share(name), name if len(name) <= 12 else name[:11] + "…") for name in self.names]
        if self.log:
            found = [
                factor * 10.0**power
                for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for factor in ((1, 2, 5) if self.high / self.low < 200 else (1,))
            ]
        else:
            step = 10 ** math.floor(math.log10((self.high - self.low) / 5))
            step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (factor * step) <= 6)
            first = math.ceil(self.low / step - 1e-9)
            found = [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]
        zero = [(self.share(0), "0")] if self.zero else []
        return zero + [(self.share(v), short(v)) for v in found if self.low <= v <= self.high]


def scatter(points: Sequence[Point], x: Scale, y: Scale, levels: Sequence[tuple[float, str, str]] = ()) -> str:
    """Points; ``levels`` are (y, colour, title) of horizontal lines."""
    parts = []
    for value, colour, title in levels:
        height = _y(y.share(value))
        parts.append(
            f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}" stroke="{colour}" stroke-dasharray="5 4">'
            f"<title>{html.escape(title)}</title></path>"
        )
    parts += [_dot(_x(x.share(point.x)), _y(y.share(point.y)), point) for point in points]
    return _frame(x, y, parts)


def curves(lines: Sequence[tuple[Sequence[tuple[float, float]], str, float, str]], x: Scale, y: Scale) -> str:
    """Lines of (points, colour, width, title)."""
    parts = []
    for points, colour, width, title in lines:
        path = " ".join(f"{_x(x.share(a)):.1f},{_y(y.share(b)):.1f}" for a, b in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}">'
            f"<title>{html.escape(title)}</title></polyline>"
        )
        parts += [_dot(_x(x.share(a)), _y(y.share(b)), Point(a, b, colour, title, 1.5 + width / 2)) for a, b in points]
    return _frame(x, y, parts)


def parallel(scales: Sequence[Scale], rows: Sequence[tuple[Sequence[Any], str, float, str]]) -> str:
    """A vertical axis for each scale, and a line through them for each row: (values, colour, width, title)."""
    width, top, bottom = max(170 * (len(scales) - 1) + 150, _WIDTH), 34, _HEIGHT + 20
    places = [70 + number * (width - 140) / max(len(scales) - 1, 1) for number in range(len(scales))]

    def y(share: float) -> float:
        return bottom - share * (bottom - top)

    parts = []
    for values, colour, stroke, title in rows:
        path = " ".join(
            f"{place:.1f},{y(scale.share(value)):.1f}"
            for place, scale, value in zip(places, scales, values, strict=True)
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{stroke}" stroke-opacity="0.85">'
            f"<title>{html.escape(title)}</title></polyline>"
        )
    for place, scale in zip(places, scales, strict=True):
        parts.append(f'<path d="M{place:.1f} {top}V{bottom}" stroke="currentColor" stroke-opacity="0.6"/>')
        parts.append(f'<text x="{place:.1f}" y="{top - 14}" text-anchor="middle">{html.escape(scale.title)}</text>')
        parts += [
            f'<text x="{place - 6:.1f}" y="{y(share) + 4:.1f}" text-anchor="end">{html.escape(text)}</text>'
            for share, text in scale.ticks()
        ]
    return f'<svg viewBox="0 0 {width} {bottom + 14}" width="{width}" role="img">{"".join(parts)}</svg>'


def legend(items: Sequence[tuple[str, str]]) -> str:
    """(colour, text), below a chart."""
    spans = "".join(f'<span><i style="background:{colour}"></i>{html.escape(text)}</span>' for colour, text in items)
    return f'<div class="legend">{spans}</div>'


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _dot(x: float, y: float, point: Point) -> str:
    paint = f'fill="none" stroke="{point.colour}" stroke-width="1.4"' if point.hollow else f'fill="{point.colour}"'
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{point.radius:g}" {paint}>'
        f"<title>{html.escape(point.title)}</title></circle>"
    )


def _frame(x: Scale, y: Scale, parts: Sequence[str]) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    axes = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.6"/>']
    for share, text in y.ticks():
        axes.append(f'<path d="M{_LEFT} {_y(share):.1f}H{right}" stroke="currentColor" stroke-opacity="0.12"/>')
        axes.append(f'<text x="{_LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{html.escape(text)}</text>')
    for share, text in x.ticks():
        axes.append(f'<text x="{_x(share):.1f}" y="{bottom + 16}" text-anchor="middle">{html.escape(text)}</text>')
    middle = (_LEFT + right) / 2
    axes.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(x.title)}</text>')
    axes.append(
        f'<text x="12" y="{bottom / 2}" text-anchor="middle" transform="rotate(-90 12 {bottom / 2})">'
        f"{html.escape(y.title)}</text>"
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img">{"".join(axes)}{"".join(parts)}</svg>'


BEST, BASELINES = COLOURS[1], (COLOURS[2], COLOURS[3])
OTHERS = COLOURS[0]
