"""Charts as SVG text, drawn by matplotlib: lines, points, bars, parallel coordinates.

Charts of a page take its text colour and its font, so that they suit light and dark; a picture of its own has a white
ground. Equal values give equal bytes. Matplotlib is imported by the first chart.
"""

import functools
import io
import logging
import math
import re
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ragdist.tools.scales import Scale, cut, short

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4c78a8", "#e4772f", "#3a9d5d", "#b5489b")
_DASHES = ("-", "--", ":", "-.")  # of lines whose colour is another's, too
FAINT = "#8a8f98"
INK = "#22252a"  # the text's: in a page it becomes the page's own
_TITLE = "title:"  # in the id of an artist that has a tooltip
_SMALL, _LARGE = (420, 240), (460, 280)
_FONT = "11px system-ui, sans-serif"
_DRAWN_FONT = "font-size: 11px; font-family: 'DejaVu Sans', sans-serif; "  # wide: what is laid out in it has room
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "ragdist", "text.parse_math": False, "font.size": 11,
    "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"], "axes.titlesize": 11, "legend.fontsize": 11,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "xtick.bottom": False,
    "ytick.left": False, "legend.frameon": False, "legend.handlelength": 1.2, "legend.borderaxespad": 0,
    "lines.solid_capstyle": "round", "path.simplify": False,
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A point of a scatter chart, with a tooltip."""

    x: Any
    y: float
    colour: str
    title: str
    radius: float = 5.0
    hollow: bool = False


def drawn(draw: "Callable[..., Figure | None] | None" = None, *, page: bool = True) -> Callable[..., str]:
    """Turn a function that draws a figure into one that returns SVG text, "" for no figure.

    Args:
        draw: the function; without it this is a decorator with options.
        page: whether the text becomes part of a page of HTML; otherwise it is a file of its own.
    """
    if draw is None:
        return functools.partial(drawn, page=page)

    @functools.wraps(draw)
    def text(*args: Any, **options: Any) -> str:
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its cache of fonts
        import matplotlib.style

        with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # the browser has fonts for all scripts
            figure = draw(*args, **options)
            return _svg(figure, page) if figure else ""

    return text


def canvas(width: float, height: float) -> "Figure":
    """An empty figure of so many pixels."""
    from matplotlib.figure import Figure

    return Figure((width / 72, height / 72), dpi=72, layout="constrained")


def framed(x: Scale, y: Scale, width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure with two axes and a grid; what is drawn there is in shares of the scales."""
    figure = canvas(width, height)
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1), xlabel=printable(x.title), ylabel=printable(y.title))
    for axis, scale in ((axes.xaxis, x), (axes.yaxis, y)):
        found = scale.ticks()
        axis.set_ticks([share for share, _ in found], [printable(label) for _, label in found])
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=1)
    axes.spines[:].set_alpha(0.6)
    return figure, axes


def legend(figure: "Figure", handles: "Iterable[Artist]", names: Iterable[str], least: int = 2) -> None:
    """Put a legend above the axes, where there are enough names."""
    names = [printable(name) for name in names]
    if len(names) >= least:
        below = figure.legend(handles, [" "] * len(names), loc="outside upper center", ncols=len(names))
        for text, name in zip(below.get_texts(), names, strict=True):  # as a label a name in "_" would be left out
            text.set_text(name)


def tooltip(artist: "Artist", text: str) -> None:
    """Give what is drawn a text that shows under the mouse."""
    artist.set_gid(_TITLE + printable(text))


def printable(text: str) -> str:
    """A name of a user's without what SVG, or a line of text, cannot hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _shares(points: Sequence[tuple[Any, float]], x: Scale, y: Scale) -> tuple[list[float], list[float]]:
    return [x.share(point[0]) for point in points], [y.share(point[1]) for point in points]


def _svg(figure: "Figure", page: bool) -> str:
    figure.patch.set_visible(not page)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(out.getvalue())
    _reduce(root)
    box = root.get("viewBox", "")
    _, _, width, height = box.split()
    root.attrib = {"viewBox": box, "width": width, "role": "img", "style": f"font: {_FONT}; stroke-linejoin: round"}
    if not page:
        root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "height": height}
    text = ElementTree.tostring(root, encoding="unicode")
    return text.replace(INK, "currentColor") if page else text + "\n"


def _reduce(root: ElementTree.Element) -> None:
    """Leave out what a browser needs not: names, clipping, fonts, digits. Tooltips take their places."""
    every = list(root.iter())
    used = {value for element in every for name, value in element.attrib.items() if name.endswith("}href")}
    for element in every:
        for child in list(element):
            if child.tag.endswith(("}metadata", "}style", "}clipPath")):
                element.remove(child)
        title = element.get("id", "")
        if "#" + title not in used:
            element.attrib.pop("id", None)
        if title.startswith(_TITLE):
            ElementTree.SubElement(element, "title").text = title.removeprefix(_TITLE)
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: _brief(value) for name, value in element.attrib.items()}
        element.attrib.pop("clip-path", None)  # all that is drawn lies within its axes
        element.tail = None
        if element.tag != "text" and not (element.text or "").strip():
            element.text = None


def _brief(value: str) -> str:
    value = value.replace(_DRAWN_FONT, "")
    return re.sub(r"(?<![#\w])-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)


@drawn
def lines(series: dict[str, Sequence[tuple[float, float]]], x_title: str, y_title: str = "") -> "Figure | None":
    """A line for each named sequence of (x, y); values that are not finite are left out."""
    series = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    x, y = (
        Scale.of(title, [point[place] for points in series.values() for point in points], log=False)
        for place, title in enumerate((x_title, y_title))
    )
    figure, axes = framed(x, y, *_SMALL)
    handles = []
    for number, points in enumerate(series.values()):
        colour, dashes = COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % len(_DASHES)]
        look = f"o{dashes}" if len(points) <= 30 else dashes
        handles += axes.plot(*_shares(points, x, y), look, color=colour, lw=1.6, ms=4.5)
    legend(figure, handles, series)
    return figure


@drawn
def plane(points: Sequence[tuple[float, float]], x_title: str, y_title: str) -> "Figure":
    """Points in the unit square, joined in their order; the last is the one that counts, and larger."""
    x, y = Scale(x_title), Scale(y_title)
    figure, axes = framed(x, y, *_SMALL)
    axes.plot(*_shares(points, x, y), "o-", color=COLOURS[0], lw=1, ms=4.5)
    axes.plot(*_shares(points[-1:], x, y), "o", color=COLOURS[1], ms=11)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    return figure


@drawn
def bars(names: Sequence[str], series: dict[str, Sequence[float]], y_title: str) -> "Figure":
    """Groups of bars side by side, a group for each name; a bar's tooltip has its value."""
    top = max((value for values in series.values() for value in values), default=0) or 1
    width = max(_SMALL[0], 28 * len(names) + 80)
    y = Scale(y_title, 0.0, 1.05 * top)
    figure, axes = framed(Scale(names=list(names)), y, width, _SMALL[1])
    labels = [printable(cut(name, 10)) for name in names]
    narrow = any(7 * len(label) > (width - 60) / len(names) for label in labels)
    turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if narrow else {}
    axes.set_xticks([place + 0.5 for place in range(len(names))], labels, **turned)
    axes.set_xlim(0, len(names))
    width, handles = 0.8 / len(series), []
    for number, (title, values) in enumerate(series.items()):
        places = [place + 0.1 + number * width for place in range(len(names))]
        handles.append(
            axes.bar(places, list(map(y.share, values)), width, align="edge", color=COLOURS[number % len(COLOURS)])
        )
        for bar, name, value in zip(handles[-1], names, values, strict=True):
            tooltip(bar, f"{name}: {title} {short(value)}")
    legend(figure, handles, series)
    return figure


@drawn(page=False)
def median_bars(series: dict[str, dict[str, list[float]]], title: str) -> "Figure":
    """A picture of horizontal bars: medians, with a line from the least to the most.

    For each name of any series there is a group of bars, one for each series that has it.
    """
    names = list(dict.fromkeys(name for values in series.values() for name in values))
    count = sum(map(len, series.values()))
    figure = canvas(520 + 6.5 * max(map(len, names)), 15 * count + 8 * len(names) + 34)
    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(labelbottom=False)
    y, places, handles = 0.0, [], {}
    for name in names:
        start = y
        for colour, (what, values) in zip(COLOURS, series.items(), strict=False):
            if name not in values:
                continue
            low, middle, high = min(values[name]), statistics.median(values[name]), max(values[name])
            handles[what] = axes.barh(y, middle, 12, color=colour)
            axes.plot([low, high], [y, y], color=INK, lw=1)
            axes.annotate(short(middle), (high, y), (6, 0), textcoords="offset points", va="center")
            y += 15
        places.append((start + y - 15) / 2)
        y += 8
    axes.set_yticks(places, map(printable, names))
    axes.set_ylim(y - 14, -8)
    axes.set_xlim(0, 1.1 * max(max(figures) for values in series.values() for figures in values.values()))
    legend(figure, handles.values(), [", ".join(filter(None, (what, title))) for what in handles], least=1)
    return figure


@drawn
def scatter(points: Sequence[Point], x: Scale, y: Scale, levels: Sequence[tuple[float, str, str]] = ()) -> "Figure":
    """Points; ``levels`` are (y, colour, title) of horizontal lines."""
    figure, axes = framed(x, y, *_LARGE)
    for value, colour, title in levels:
        tooltip(axes.axhline(y.share(value), color=colour, lw=1, dashes=(5, 4)), title)
    for point in points:
        face = "none" if point.hollow else point.colour
        (dot,) = axes.plot(*_shares([(point.x, point.y)], x, y), "o", ms=2 * point.radius, color=point.colour, mfc=face)
        tooltip(dot, point.title)
    return figure


@drawn
def curves(lines: Sequence[tuple[Sequence[tuple[float, float]], str, float, str]], x: Scale, y: Scale) -> "Figure":
    """Lines of (points, colour, width, title)."""
    figure, axes = framed(x, y, *_LARGE)
    for points, colour, width, title in lines:
        (line,) = axes.plot(*_shares(points, x, y), "o-", color=colour, lw=width, ms=3 + width)
        tooltip(line, title)
    return figure


@drawn
def parallel(scales: Sequence[Scale], rows: Sequence[tuple[Sequence[Any], str, float, str]]) -> "Figure":
    """A vertical axis for each scale, and a line through them for each row: (values, colour, width, title)."""
    figure = canvas(max(170 * len(scales) - 20, _LARGE[0]), _LARGE[1] + 34)
    axes = figure.add_subplot(xlim=(-0.1, len(scales) - 0.9), ylim=(0, 1), yticks=[])
    axes.spines[:].set_visible(False)
    for values, colour, width, title in rows:
        heights = [scale.share(value) for scale, value in zip(scales, values, strict=True)]
        (line,) = axes.plot(heights, color=colour, lw=width, alpha=0.85)
        tooltip(line, title)
    axes.set_xticks(range(len(scales)), [printable(scale.title) for scale in scales])
    axes.tick_params(labelbottom=False, labeltop=True, pad=8)
    for place, scale in enumerate(scales):
        axes.plot([place, place], [0, 1], color=INK, alpha=0.6, lw=1)
        for share, text in scale.ticks():
            axes.annotate(printable(text), (place, share), (-6, 0), textcoords="offset points", ha="right", va="center")
    return figure
