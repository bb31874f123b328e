"""Images to look at: grids, files, animations, TensorBoard, pages; and the features and measures that suit them.

Functions without a docstring are those of `modalities.base.Judging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ragdist.modalities import pictures
from ragdist.modalities.base import Form, Interpolation
from ragdist.modalities.image.preview import grid, tiles
from ragdist.modalities.image.training import augment

features = ("pixels", "laplacian", "classifier", "inception")
labelled_features = "classifier"
classifier = "classifier"
measures = ("swd", "ms_ssim", "inception_score")
quantization = "8 bits a channel"
out = "grid.png"
beside = 16
interpolation = Interpolation()

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def preview(samples: Tensor, form: Form, columns: int | None = None) -> Image.Image:
    return grid(samples, columns)


def check_out(out: Path, animate: bool) -> str:
    if animate and out.suffix.lower() != ".gif":
        return f"an animation is a GIF; name it {out.with_suffix('.gif')}"
    if not animate and out.suffix and out.suffix.lower() not in _PICTURES:
        return "end it in .png, .jpg or .webp, or name a folder"
    return ""


def write(samples: Tensor, form: Form, out: Path, columns: int | None) -> str:
    pictures.save(grid(samples, columns), out)
    return f"{len(samples)} samples"


def write_each(samples: Tensor, form: Form, folder: Path, first: int) -> int:
    for number, tile in enumerate(tiles(samples), first):
        tile.save(folder / f"{number:06d}.png")
    return len(samples)


def animate(frames: Sequence[Tensor], form: Form, out: Path, columns: int | None) -> str:
    pictures.save_animation([grid(frame, columns) for frame in frames], out, milliseconds=50)
    return f"{len(frames)} frames of {len(frames[0])} samples"


def log(board: Any, tag: str, samples: Tensor, form: Form, picture: Image.Image, step: int) -> None:
    board.add_image(tag, pictures.to_tensor(picture), step)


def brought(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    return file, ()  # how an image is resized decides its figures: that is its owner's part


def html(samples: Tensor, form: Form, columns: int) -> str:
    return pictures.inside(grid(samples, columns))


def html_rows(rows: Sequence[tuple[str, Tensor]], form: Form) -> str:
    return pictures.inside(pictures.named_rows([(name, grid(samples, len(samples))) for name, samples in rows]))


def residual(samples: Tensor, others: Tensor, form: Form) -> Tensor:
    """Pictures of what differs, stored [n, C, H, W]: the mean difference over channels, black where there is none."""
    difference = (samples.float() - others.float()).abs().mean(1, keepdim=True)
    return difference.round().byte().expand(-1, samples.shape[1], -1, -1).contiguous()


def classified(samples: Tensor, form: Form) -> Tensor:
    return samples


def vary(pictures: Tensor, uniform: np.ndarray) -> Tensor:
    padding = max(min(pictures.shape[2:]) // 8, 1)
    return augment(pictures, uniform, padding, False)  # no mirroring: a mirrored digit is none
