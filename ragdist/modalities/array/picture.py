"""Pictures of arrays: of [2 or 3, T] curves in the plane, with obstacles; of others a line for each channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ragdist.modalities.base import Form

SIDE = 96  # pixels of a tile
_FINE = 2  # times as large a tile is drawn, and then averaged down
_MARGIN = 0.06  # of the side
_PAPER, _WALL, _AXIS = "#f6f6f8", "#c8c8d2", "#d6d6dc"
_COLOURS = ("#3366aa", "#dd5533", "#2a9d6f", "#8855bb", "#c29a1b", "#1b9bb5", "#bb4488", "#666666")
_MOST_LINES = 8  # channels of a tile
_RANGE = 3  # scales above and below a channel's shift that a tile shows, where there are no more
_DEPTH = (0.4, 0.3)  # right and up, by which a third coordinate moves a point


class View(NamedTuple):
    """The part of the plane that a tile shows."""

    x: float
    y: float
    side: float


def is_path(form: Form) -> bool:
    """Whether samples are curves in the plane or in space."""
    return len(form.shape) == 2 and form.shape[0] in (2, 3) and form.shape[1] > 1


def tiles(samples: np.ndarray, form: Form, view: View | None = None) -> list[Image.Image]:
    """Picture samples float32 [n, *form.shape], all at one scale."""
    if is_path(form):
        curves = _plane(samples)
        view = view or view_of(samples, form)
        return [_curve(curve, form, view) for curve in curves]
    shift, scale = (
        np.asarray(form.spec[key]).reshape(1, -1, *(1 for _ in form.shape[1:])) for key in ("shift", "scale")
    )
    values = (samples.astype(np.float64) - shift) / scale
    values = values[:, None] if len(form.shape) == 1 else values
    most = max(float(np.abs(values).max(initial=0)), _RANGE)
    return [_lines(channels / most) for channels in values[:, :_MOST_LINES]]


def view_of(samples: np.ndarray, form: Form) -> View:
    """The part of the plane that holds the obstacles and routes, where these are known, else all samples' points."""
    if places := [
        *form.spec.get("obstacles", []),
        *(point * 2 for way in form.spec.get("routes", []) for point in way),
    ]:
        boxes = np.asarray(places, np.float64)
        low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    else:
        points = _plane(samples).transpose(0, 2, 1).reshape(-1, 2)
        low, high = points.min(0), points.max(0)
    side = max(float((high - low).max()), 1e-6) * (1 + 2 * _MARGIN)
    x, y = (low + high - side) / 2
    return View(float(x), float(y), side)


def _plane(samples: np.ndarray) -> np.ndarray:
    """Curves [n, 2, T] of samples [n, 2 or 3, T]: of a third coordinate what a slanted look from above shows."""
    samples = samples.astype(np.float64)
    if samples.shape[1] == 2:
        return samples
    return samples[:, :2] + samples[:, 2:] * np.asarray(_DEPTH)[:, None]


def _curve(curve: np.ndarray, form: Form, view: View) -> Image.Image:
    size = SIDE * _FINE
    tile = Image.new("RGB", (size, size), _PAPER)
    pen = ImageDraw.Draw(tile)

    def places(x: np.ndarray, y: np.ndarray) -> list[float]:
        found = np.stack([(x - view.x) / view.side, 1 - (y - view.y) / view.side], 1) * size
        return np.clip(found, -size, 2 * size).round(1).ravel().tolist()

    for x0, y0, x1, y1 in form.spec.get("obstacles", []):
        pen.rectangle(places(np.array([x0, x1]), np.array([y1, y0])), fill=_WALL)
    way = places(*curve)
    pen.line(way, fill=_COLOURS[0], width=2 * _FINE, joint="curve")
    for (x, y), colour in ((way[:2], _COLOURS[2]), (way[-2:], _COLOURS[1])):  # where it begins and ends
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
    return tile.reduce(_FINE)


def _lines(channels: np.ndarray) -> Image.Image:
    """A tile of channels [C, T] from -1 to 1."""
    size = SIDE * _FINE
    tile = Image.new("RGB", (size, size), _PAPER)
    pen = ImageDraw.Draw(tile)
    pen.line((0, size / 2, size, size / 2), fill=_AXIS, width=_FINE)
    steps = channels.shape[1]
    x = (np.arange(steps) + 0.5) / steps * size
    for channel, colour in zip(channels, _COLOURS, strict=False):
        y = size / 2 - channel * (size / 2) * (1 - 2 * _MARGIN)
        ways = np.stack([x, y], 1) if steps > 1 else np.array([[0, y[0]], [size, y[0]]])
        pen.line(ways.round(1).ravel().tolist(), fill=colour, width=_FINE + 1)
    return tile.reduce(_FINE)
