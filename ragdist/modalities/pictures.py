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


def course(moments: Sequence[tuple[int, Image.Image]], tiles_across: int, columns: int) -> Image.Image:
    """The closing picture: the first samples of several grids, a row each, with the images seen.

    Args:
        moments: (images seen, grid of ``columns`` columns), in the order of the rows.
        tiles_across: how many of a grid's first row are shown, at most ``columns``.
        columns: the grids' columns.
    """
    first = moments[0][1]
    pitch = (first.width - GAP) // columns
    width, height = GAP + tiles_across * pitch, pitch + GAP
    return named_rows([(f"{images:,} images", picture.crop((0, 0, width, height))) for images, picture in moments])


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
    picture.save(out, {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}.get(path.suffix.lower(), "png"))
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
    picture.save(out, "png", optimize=True)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="" width="{picture.width}" src="data:image/png;base64,{data}">'
