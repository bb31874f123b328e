"""Pictures of samples, whatever their modality: the closing picture of a training, named rows, files, pages."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ragdist.storage.files import write_whole

GAP = 2  # white pixels around each sample of a grid

_PNG = {"compress_level": 3}  # as small as the default level for enlarged pixels, in a third of its time


def grid(tiles: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Lay out pictures of one size in a grid, row by row; nearly square without ``columns``."""
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)))
    return sheet


def course(moments: Sequence[tuple[int, Image.Image]], rows: int, units: str) -> Image.Image:
    """The closing picture: the first row of several grids, one below the other, with the samples seen.

    Args:
        moments: (samples seen, grid of so many ``rows``), in the order in which they are shown.
        rows: of each grid.
        units: what samples are called.
    """
    first = moments[0][1]
    height = (first.height - GAP) // rows + GAP
    return named_rows([(f"{seen:,} {units}", picture.crop((0, 0, first.width, height))) for seen, picture in moments])


def named_rows(rows: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Stack pictures of one height, each with its name on the left."""
    font = ImageFont.load_default(size=14)
    margin = 16 + max(math.ceil(font.getlength(name)) for name, _ in rows) if any(name for name, _ in rows) else 0
    height = rows[0][1].height
    width = max(picture.width for _, picture in rows)
    sheet = Image.new("RGB", (margin + width, (height - GAP) * len(rows) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, picture) in enumerate(rows):
        top = row * (height - GAP)
        sheet.paste(picture, (margin, top))
        pen.text((margin - 8, top + height // 2), name, fill="black", font=font, anchor="rm")
    return sheet


def evenly(count: int, most: int) -> list[int]:
    """Pick at most ``most`` of range(count), evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def load(path: Path) -> Image.Image:
    """Load a picture."""
    with Image.open(path) as picture:
        picture.load()
    return picture


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture whole, in the format of the path's ending."""
    out = io.BytesIO()
    kind = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}.get(path.suffix.lower(), "png")
    picture.save(out, kind, **(_PNG if kind == "png" else {}))
    write_whole(path, out.getvalue())


def save_animation(frames: list[Image.Image], path: Path, *, milliseconds: int) -> None:
    """Write frames as an endless GIF."""
    out = io.BytesIO()
    frames[0].save(out, "gif", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    write_whole(path, out.getvalue())


def to_tensor(picture: Image.Image) -> Tensor:
    """Turn a picture into uint8 [3, H, W] for TensorBoard."""
    data = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return data.view(picture.height, picture.width, 3).permute(2, 0, 1)


def inside(picture: Image.Image) -> str:
    """A picture inside of a page, as HTML."""
    out = io.BytesIO()
    picture.save(out, "png", **_PNG)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="" width="{picture.width}" src="data:image/png;base64,{data}">'
