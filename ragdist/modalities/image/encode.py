"""Encoding of images as payloads: decoded whole once, brought to size and colour, kept as they are if they fit.

Pillow decodes: it is as fast as a JPEG decoder gets on small images without PyTorch, whose import takes longer
than writing CIFAR-10.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ragdist.config.shards import ShardOptions
from ragdist.modalities.base import Picture

_ORIENTATION = 0x0112
_GREY = ("1", "L", "I", "I;16", "I;16B", "F", "LA", "La")


@dataclass(frozen=True)
class Encoded:
    """An encoded payload and its shape."""

    data: bytes
    extension: str  # jpg or png
    shape: tuple[int, int, int]  # (channels, height, width)


@contextmanager
def refusing_bombs() -> Iterator[None]:
    """Make images above Pillow's limit of pixels errors; a context for many calls of `encode`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what it thinks of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def encode(picture: Picture, options: ShardOptions) -> Encoded:
    """Encode an image file's bytes, or a decoded picture, as a payload.

    Raises:
        ValueError: it is no image, is cut off, or unpacks to too many pixels.
    """
    try:
        return _encode(picture, options)
    except Exception as error:  # Pillow's decoders raise a dozen kinds of exceptions for broken files
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(text) from error


def _encode(picture: Picture, options: ShardOptions) -> Encoded:
    data = picture if isinstance(picture, bytes) else None
    image = Image.open(io.BytesIO(data)) if data is not None else picture
    kind, before = image.format, image.size
    if options.size and kind == "JPEG":  # unpack a large JPEG at a half, a quarter or an eighth of its size
        image.draft(None, (2 * options.size, 2 * options.size))
    image.load()
    turned = _upright(image)
    keep = data is not None and options.format == "keep" and kind in ("JPEG", "PNG") and turned.size == before
    keep = keep and turned is image and not (kind == "PNG" and data[24] == 16)  # 16 bits a channel: not uint8
    grey = options.channels == 1 or (options.channels == 0 and turned.mode in _GREY)
    mode = "L" if grey else "RGB"
    if turned.mode != mode:
        turned, keep = _converted(turned, mode), False
    if options.size and turned.size != (options.size, options.size):
        fit = ImageOps.fit if options.fit == "crop" else ImageOps.pad
        turned, keep = fit(turned, (options.size, options.size), Image.Resampling.BICUBIC), False
    shape = (1 if grey else 3, turned.height, turned.width)
    if keep:
        return Encoded(data, "jpg" if kind == "JPEG" else "png", shape)
    out = io.BytesIO()
    turned.info.clear()  # or Pillow writes the source's colour profile, comments and so on into every sample
    if options.format == "jpg":
        turned.save(out, "jpeg", quality=options.quality)
        return Encoded(out.getvalue(), "jpg", shape)
    turned.save(out, "png")
    return Encoded(out.getvalue(), "png", shape)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; an upright one is returned itself."""
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        return ImageOps.exif_transpose(image)
    return image


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would cut off at 255 instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image.convert(mode)
