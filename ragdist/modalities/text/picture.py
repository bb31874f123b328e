"""Texts as pictures: lines in a font of equal widths."""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ragdist.modalities.base import Form
from ragdist.modalities.text.strings import shown

_SIZE = 12  # of the font, pixels
_WIDEST, _MOST_LINES = 64, 8  # characters of a line, and lines
_MARGIN = 4
_INK, _GROUND, _CUT = "#22252a", "#f4f5f7", "\u2026"


def tiles(texts: list[str], form: Form) -> list[Image.Image]:
    """A picture of each text, all of the size that the form says; what has no room is cut.

    The font has Latin, Greek, Cyrillic, Arabic and more letters; for others there are boxes.
    """
    tokens = form.spec["tokens"]
    characters = math.ceil(form.shape[0] * max(sum(map(len, tokens)) / len(tokens), 1))
    columns = min(characters, _WIDEST)
    rows = min(-(-characters // columns), _MOST_LINES)
    return [_tile(shown(text), columns, rows) for text in texts]


def _tile(text: str, columns: int, rows: int) -> Image.Image:
    font = _font()
    width, height = math.ceil(font.getlength("m")), _SIZE + 4
    if len(text) > columns * rows:
        text = text[: columns * rows - 1] + _CUT
    tile = Image.new("RGB", (columns * width + 2 * _MARGIN, rows * height + 2 * _MARGIN), _GROUND)
    pen = ImageDraw.Draw(tile)
    for row in range(rows):
        line = text[row * columns : (row + 1) * columns]
        pen.text((_MARGIN, _MARGIN + row * height), line, fill=_INK, font=font)
    return tile


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans Mono, which comes with matplotlib; without it what Pillow has."""
    found = find_spec("matplotlib")  # importing it takes a while
    for place in (found and found.submodule_search_locations) or ():
        path = Path(place, "mpl-data", "fonts", "ttf", "DejaVuSansMono.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), _SIZE)
    return ImageFont.load_default(_SIZE)
