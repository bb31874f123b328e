"""Grids of image samples."""

from PIL import Image
from torch import Tensor

from ragdist.modalities import pictures

SMALLEST_TILE = 64  # pixels; smaller samples are enlarged, so that a person can see them


def tiles(samples: Tensor) -> list[Image.Image]:
    """Turn images uint8 [n, 1 or 3, H, W] into pictures of their size."""
    pixels = samples.permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(p[:, :, 0] if p.shape[2] == 1 else p) for p in pixels]


def _enlarged(tile: Image.Image) -> Image.Image:
    factor = max(1, -(-SMALLEST_TILE // tile.width))
    return tile if factor == 1 else tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.BICUBIC)


def grid(samples: Tensor, columns: int | None = None) -> Image.Image:
    """Lay out samples in a grid, row by row; nearly square without ``columns``."""
    return pictures.grid([_enlarged(tile) for tile in tiles(samples)], columns)
