"""Previews of image samples: grids, the closing picture of a training, animations."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ragdist.storage.files import write_whole

SMALLEST_TILE = 64  # pixels; smaller samples are enlarged, so that a person can see them
_GAP = 2


def tiles(samples: Tensor) -> list[Image.Image]:
    """Turn samples [n, 1 or 3, H, W] in [-1, 1] into pictures of their size."""
    pixels = samples.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(p[:, :, 0] if p.shape[2] == 1 else p) for p in pixels]


def _enlarged(tile: Image.Image) -> Image.Image:
    factor = max(1, -(-SMALLEST_TILE // tile.width))
    return tile if factor == 1 else tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.BICUBIC)


def grid(samples: Tensor, columns: int | None = None) -> Image.Image:
    """Lay out samples in a grid, row by row; nearly square without ``columns``."""
    pictures = [_enlarged(tile) for tile in tiles(samples)]
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = -(-len(pictures) // columns)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (_GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + _GAP)))
    return sheet


def course(moments: Sequence[tuple[int, Image.Image]], tiles_across: int, columns: int) -> Image.Image:
    """The closing picture: the first samples of several grids, a row each, with the images seen.

    Args:
        moments: (images seen, grid of ``columns`` columns), in the order of the rows.
        tiles_across: how many of a grid's first row are shown, at most ``columns``.
        columns: the grids' columns.
    """
    first = moments[0][1]
    pitch = (first.width - _GAP) // columns
    width, height = _GAP + tiles_across * pitch, pitch + _GAP
    return named_rows([(f"{images:,} images", picture.crop((0, 0, width, height))) for images, picture in moments])


def named_rows(rows: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Stack pictures of one height, each with its name on the left."""
    font = ImageFont.load_default(size=14)
    margin = 16 + max(math.ceil(font.getlength(name)) for name, _ in rows) if any(name for name, _ in rows) else 0
    height = rows[0][1].height
    width = max(picture.width for _, picture in rows)
    sheet = Image.new("RGB", (margin + width, (height - _GAP) * len(rows) + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, picture) in enumerate(rows):
        top = row * (height - _GAP)
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
