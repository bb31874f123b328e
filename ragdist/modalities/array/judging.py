"""Arrays to look at, files of them, features and measures.

Functions without a docstring are those of `modalities.base.Judging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities import pictures
from ragdist.modalities.array import files, shapes
from ragdist.modalities.array.picture import is_path, tiles, view_of
from ragdist.modalities.base import Form, Interpolation, Statistic

features = ("numbers",)
measures = ("trajectories", "crossings", "routes")
labelled_features = classifier = sees = ""
quantization = "float32"
out = "samples.png"
beside = 10
several = {".npz": files.rows_of}
interpolation = Interpolation(samples=16)

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def preview(samples: Tensor, form: Form, columns: int | None = None) -> Image.Image:
    return pictures.grid(tiles(samples.cpu().numpy(), form), columns)


def statistics(payloads: Sequence[memoryview], samples: Tensor, form: Form) -> list[Statistic]:
    numbers = samples.flatten(1).double()
    found = [
        Statistic("least", numbers.amin(1).tolist()),
        Statistic("mean", numbers.mean(1).tolist()),
        Statistic("largest", numbers.amax(1).tolist()),
        Statistic("constant", (numbers.amin(1) == numbers.amax(1)).tolist()),
    ]
    if is_path(form):
        paths = samples.numpy()
        found += [
            Statistic("length of the path", shapes.steps(paths).sum(1).tolist()),
            Statistic("radius of gyration", shapes.radii(paths).tolist()),
        ]
    return found


def check_out(out: Path, animate: bool) -> str:
    suffix = out.suffix.lower()
    if animate:
        return "" if suffix == ".gif" else f"an animation is a GIF; name it {out.with_suffix('.gif')}"
    if suffix and suffix not in (".npz", ".csv", *_PICTURES):
        return "end it in .npz or .csv for numbers, in .png, .jpg or .webp for a picture, or name a folder"
    return ""


def write(samples: Tensor, form: Form, out: Path, columns: int | None) -> str:
    suffix, numbers = out.suffix.lower(), samples.cpu().numpy()
    if suffix == ".npz":
        files.save_npz(numbers, out)
    elif suffix == ".csv":
        files.save_csv(numbers, out)
    else:
        pictures.save(preview(samples, form, columns), out)
    return f"{len(samples)} arrays"


def write_each(samples: Tensor, form: Form, folder: Path, first: int) -> int:
    for number, sample in enumerate(samples.cpu().numpy(), first):
        files.save_npy(sample, folder / f"{number:06d}.npy")
    return len(samples)


def animate(frames: Sequence[Tensor], form: Form, out: Path, columns: int | None) -> str:
    view = view_of(torch.cat(list(frames)).cpu().numpy(), form) if is_path(form) else None
    drawn = [pictures.grid(tiles(frame.cpu().numpy(), form, view), columns) for frame in frames]
    pictures.save_animation(drawn, out, milliseconds=50)
    return f"{len(frames)} frames of {len(frames[0])} samples"


def log(board: Any, tag: str, samples: Tensor, form: Form, picture: Image.Image, step: int) -> None:
    board.add_image(tag, pictures.to_tensor(picture), step)


def brought(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    return files.row_of(file, form)


def html(samples: Tensor, form: Form, columns: int) -> str:
    return pictures.inside(preview(samples, form, columns))


def html_rows(rows: Sequence[tuple[str, Tensor]], form: Form) -> str:
    view = view_of(torch.cat([samples for _, samples in rows]).numpy(), form) if is_path(form) else None
    drawn = [(name, pictures.grid(tiles(samples.numpy(), form, view), len(samples))) for name, samples in rows]
    return pictures.inside(pictures.named_rows(drawn))
