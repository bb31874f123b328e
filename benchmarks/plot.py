"""Horizontal bars as a picture in SVG: medians, with a line from the least to the most."""

import html
import statistics

from ragdist.evaluation.report.svg import COLOURS, short

_BARS, _ROW, _TOP, _LETTER = 430, 15, 24, 6


def bars(series: dict[str, dict[str, list[float]]], title: str) -> str:
    """For each name of any series a group of bars, one for each series that has it."""
    names = list(dict.fromkeys(name for values in series.values() for name in values))
    most = max(max(figures) for values in series.values() for figures in values.values())
    left = _LETTER * max(map(len, names)) + 16
    width, scale = left + _BARS + 60, _BARS / most
    parts, y = [], _TOP + 8
    for number, legend in enumerate(series):
        x = left + 200 * number
        parts.append(f'<rect x="{x}" y="6" width="10" height="10" fill="{COLOURS[number]}"/>')
        parts.append(f'<text x="{x + 15}" y="15">{html.escape(", ".join(filter(None, (legend, title))))}</text>')
    for name in names:
        here = [(COLOURS[i], values[name]) for i, values in enumerate(series.values()) if name in values]
        middle = y + _ROW * len(here) / 2 + 3
        parts.append(f'<text x="{left - 8}" y="{middle}" text-anchor="end">{html.escape(name)}</text>')
        for colour, figures in here:
            end = left + scale * statistics.median(figures)
            low, high = (left + scale * value for value in (min(figures), max(figures)))
            parts.append(f'<rect x="{left}" y="{y}" width="{end - left:.1f}" height="{_ROW - 3}" fill="{colour}"/>')
            parts.append(f'<path d="M{low:.1f} {y + (_ROW - 3) / 2}H{high:.1f}" stroke="black"/>')
            parts.append(f'<text x="{high + 6:.1f}" y="{y + 10}">{short(statistics.median(figures))}</text>')
            y += _ROW
        y += 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" '
    style = 'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    return f"{head}{style}{''.join(parts)}</svg>\n"
