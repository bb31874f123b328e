"""NumPy arrays of images: a .npy file, or a .npz file with ``images`` and perhaps ``labels``."""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.archive import stamp
from ragdist.data.sources.labels import numbered
from ragdist.data.sources.source import Numbered, Source
from ragdist.tools.errors import UserError, nearest

_CORRUPT = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error)


class ArrayReader:
    """Reads pictures by their number in a mapped .npy file, uint8 of a shape that `layout` knows."""

    def __init__(self, path: Path):
        self.path, self._images = path, None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def __call__(self, place: int):
        from PIL import Image

        if self._images is None:
            self._images = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return Image.fromarray(as_picture(self._images[place], layout(self._images.shape)))


def layout(shape: tuple[int, ...]) -> str | None:
    """``HW``, ``HWC`` or ``CHW``: how the images of an array [N, ...] lie in it; None where they are no images."""
    if len(shape) == 3:
        return "HW"
    if len(shape) == 4 and shape[3] in (1, 3):
        return "HWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "CHW"
    return None


def as_picture(image: np.ndarray, how: str) -> np.ndarray:
    """Bring an image of a layout to uint8 [H, W] or [H, W, 3], contiguous."""
    if how == "CHW":
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    return np.ascontiguousarray(image)


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open the images of a .npy or .npz file. Pickled objects in it are refused unread."""
    path = Path(name).absolute()
    values = None
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                if "images" not in arrays.files:
                    raise UserError(f"{name} holds no array 'images'{nearest('images', arrays.files)}")
                values = arrays["labels"] if "labels" in arrays.files else None
            file = _unpack(path, scratch)
        else:
            file = path
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except _CORRUPT as error:
        raise UserError(f"{name} cannot be read as NumPy arrays without pickled objects ({error})") from error
    return of_array(name, images, file, stamp(path), values)


def of_array(
    name: str,
    images: np.ndarray,
    file: Path,
    identity: str,
    values: Sequence[int] | np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> Source:
    """The source of an array that lies in the .npy ``file``.

    Raises:
        UserError: it is not uint8, its shape is no images', or the labels do not fit.
    """
    if images.dtype != np.uint8:
        advice = "(255 * x).round().astype('uint8') if it goes from 0 to 1, (127.5 * x + 127.5) if from -1 to 1"
        advice = advice if images.dtype.kind == "f" else "x.astype('uint8') if it goes from 0 to 255"
        raise UserError(f"{name} holds {images.dtype} and not uint8: save {advice}")
    if layout(images.shape) is None or 0 in images.shape:
        raise UserError(
            f"{name} has the shape {list(images.shape)}: images are [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W]"
        )
    labels: list[int] = []
    if values is not None:
        values = np.asarray(values)
        if values.shape == (len(images), 1):
            values = values[:, 0]
        if values.shape != (len(images),) or values.dtype.kind not in "iuU":
            raise UserError(
                f"{name}: labels are {values.dtype} {list(values.shape)}; give a whole number or a name for each of "
                f"the {len(images):,} images"
            )
        labels, classes = numbered(name, values.tolist(), classes)
    names = Numbered(len(images))
    return Source(names, range(len(images)), ArrayReader(file), identity, labels, classes if labels else ())


def _unpack(path: Path, scratch: Path) -> Path:
    """Unpack the array ``images`` of a .npz to a file that can be mapped."""
    file = scratch / f"images-{stamp(path)}.npy"
    if not file.exists():
        part = file.with_suffix(".part")
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as packed, open(part, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        part.rename(file)
    return file
