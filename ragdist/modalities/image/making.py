"""Making of image samples: files are decoded whole once, brought to size and colour, kept as they are if they fit.

Pillow decodes: it is as fast as a JPEG decoder gets on small images without PyTorch, whose import takes longer
than writing CIFAR-10. Functions without a docstring are those of `modalities.base.Making`.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps

from ragdist.modalities.base import Encoded, Form
from ragdist.modalities.image import colour, converted, opened, png, png_pixels, webp
from ragdist.modalities.image.header import shape_of
from ragdist.modalities.image.options import ImageIndexOptions, ImageOptions

unit, units = "image", "images"
payload = ("jpg", "jpeg", "png", "webp", "jfif", "jpe")
suffixes = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".tga", ".qoi",
))  # fmt: skip
others = frozenset((
    ".heic", ".heif", ".jxl", ".svg", ".eps", ".pdf", ".psd", ".xcf", ".ai", ".exr", ".hdr", ".pfm", ".dds", ".ico",
    ".pcx", ".sgi", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf",
))  # fmt: skip
convert = "as to PNG or JPEG"
BACKGROUND = "background"  # the colour that transparent parts of payloads are composed on; not said: alpha is left out
spec = frozenset((BACKGROUND,))
decoding = {BACKGROUND: "#ffffff"}
options = ImageOptions
index_options = ImageIndexOptions
depends = {"pillow": PIL.__version__}
begin = "--config cifar10"

_ORIENTATION = 0x0112
_FIRST_FRAME = "the first of several frames or pages is read"


@contextmanager
def reading() -> Iterator[None]:
    """Silence what Pillow thinks of odd metadata; a context for many calls of `encode`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def encode(item: bytes | Any, options: ImageOptions) -> Encoded:
    """Encode an image file's bytes, or a decoded picture, as a payload.

    Raises:
        ValueError: it is no image, is cut off, unpacks to too many pixels, or has no certain scale.
    """
    data = item if isinstance(item, bytes) else b""
    image = opened.look(data, options.max_pixels, side=2 * options.size) if isinstance(item, bytes) else item
    with opened.in_words(data):
        return _encode(image, data, options)


def _encode(image: Image.Image, data: bytes, options: ImageOptions) -> Encoded:
    """Encode a picture that was opened from ``data``; empty: it comes decoded."""
    kind = image.format
    notes = (_FIRST_FRAME,) if data and opened.has_more_frames(image) else ()
    if data and kind == "PNG":
        depth = png.open_file(data, (image.height, image.width)).header.depth
        if depth == 8 and _fits(image, data, options):
            return Encoded(data, "png", (len(image.getbands()), image.height, image.width), notes=notes)
        _mend_transparency(image, depth)
    opened.load(image, data)
    turned = _upright(image)
    keep = data and options.format == "keep" and kind in ("JPEG", "PNG") and turned is image
    keep = keep and not (kind == "PNG" and data[24] == 16)  # 16 bits a channel: not uint8
    grey = options.channels == 1 or (options.channels == 0 and converted.is_grey(turned))
    plain, composed = converted.flat(converted.eight_bits(turned), grey, colour.named(options.background))
    keep = keep and plain is turned
    if options.size and plain.size != (options.size, options.size):
        fit = ImageOps.fit if options.fit == "crop" else ImageOps.pad
        plain, keep = fit(plain, (options.size, options.size), Image.Resampling.BICUBIC), False
    shape = (1 if grey else 3, plain.height, plain.width)
    notes += (f"transparent parts composed on {options.background} (--background)",) if composed else ()
    if keep:
        return Encoded(data, "jpg" if kind == "JPEG" else "png", shape, notes=notes)
    out = io.BytesIO()
    plain.info.clear()  # or Pillow writes the source's colour profile, comments and so on into every sample
    if options.format == "jpg":
        plain.save(out, "jpeg", quality=options.quality)
        return Encoded(out.getvalue(), "jpg", shape, notes=notes)
    plain.save(out, "png")
    return Encoded(out.getvalue(), "png", shape, notes=notes)


def _fits(image: Image.Image, data: bytes, options: ImageOptions) -> bool:
    """Whether a PNG of 8 bits that is whole keeps its bytes, as its header and the kinds of its chunks tell."""
    if options.format != "keep" or options.size not in (0, image.width) or options.size not in (0, image.height):
        return False
    if image.mode not in ("L", "RGB") or options.channels not in (0, len(image.getbands())):
        return False
    turned = any(kind in data for kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"))  # perhaps: an orientation may be there
    return not turned and "transparency" not in image.info


def _mend_transparency(image: Image.Image, depth: int) -> None:
    """Refuse or mend what Pillow gets wrong of a PNG: it compares a transparent colour with values of 8 bits."""
    if "transparency" not in image.info or image.mode not in ("L", "RGB"):
        return
    if depth == 16:
        raise ValueError("it has a transparent colour of 16 bits a channel: save it with an alpha channel")
    if depth < 8:
        image.info["transparency"] *= 255 // ((1 << depth) - 1)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; an upright one is returned itself."""
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        return ImageOps.exif_transpose(image)
    return image


# Arrays.


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> str:
    if dtype != np.uint8:
        advice = "(255 * x).round().astype('uint8') if it goes from 0 to 1, (127.5 * x + 127.5) if from -1 to 1"
        advice = advice if dtype.kind == "f" else "x.astype('uint8') if it goes from 0 to 255"
        return f"holds {dtype} and not uint8: save {advice}"
    if layout(shape) is None or 0 in shape:
        return f"has the shape {list(shape)}: images are [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W]"
    return ""


def layout(shape: tuple[int, ...]) -> str | None:
    """``HW``, ``HWC`` or ``CHW``: how the images of an array [N, ...] lie in it; None where they are no images."""
    if len(shape) == 3:
        return "HW"
    if len(shape) == 4 and shape[3] in (1, 3):
        return "HWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "CHW"
    return None


def from_array(row: np.ndarray) -> Image.Image:
    return Image.fromarray(as_picture(row))


def as_picture(image: np.ndarray) -> np.ndarray:
    """Bring an image of an array that `check_array` let pass to uint8 [H, W] or [H, W, 3], contiguous."""
    if layout((1, *image.shape)) == "CHW":
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    return np.ascontiguousarray(image)


# Shards that others wrote.


def describe(payload: memoryview, options: ImageIndexOptions) -> Form:
    shape = shape_of(payload, options.max_pixels)
    return Form((options.channels or shape[0], *shape[1:]), {BACKGROUND: colour.hexadecimal(options.background)})


def notes(payload: memoryview, form: Form) -> tuple[str, ...]:
    if not _may_be_transparent(payload):
        return ()
    if payload[:8] == png.SIGNATURE:
        composed = png_pixels.pixels_of([png.open_file(payload, tuple(form.shape[1:]))], 4)[..., 3].min() < 255
    else:
        data = bytes(payload)
        image = opened.look(data, size=form.shape[1:])
        opened.load(image, data)
        composed = converted.flat(converted.eight_bits(image), False, (0, 0, 0))[1]
    return (f"transparent parts composed on {form.spec[BACKGROUND]} (--background)",) if composed else ()


def _may_be_transparent(payload: memoryview) -> bool:
    if payload[:2] == b"\xff\xd8":  # a JPEG
        return False
    if payload[:8] == png.SIGNATURE:
        return png.header_of(payload)[1]
    return not webp.is_webp(payload) or webp.header_of(payload).transparent


def settled(form: Form, notes: Mapping[str, int]) -> Form:
    return form if notes else Form(form.shape)  # nothing is transparent: the samples do not depend on it


def in_words(form: Form) -> str:
    channels, height, width = form.shape
    return f"{width}x{height} pixels, {'grey' if channels == 1 else 'RGB'}"


def loses(form: Form, options: ImageIndexOptions) -> bool:
    return form.shape[0] == 1 and not options.channels  # colour, and nobody said that all should be grey


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    (name, (a, _)), (odd, (b, _)) = first, other
    if a[1:] != b[1:] and writing:
        advice = f"give --size {min(a[1], a[2])} to cut and resize them all"
        return f"images of different sizes: {name} is {a[2]}x{a[1]}, {odd} is {b[2]}x{b[1]}; {advice}"
    if a[1:] != b[1:]:
        return (
            f"it is {b[2]}x{b[1]} pixels, and the first sample, {name}, {a[2]}x{a[1]}: all must be of one size; "
            "`python -m ragdist.shards SOURCE OUT --size N` writes such shards"
        )
    if writing and a != b:
        return f"some images are grey and some in colour ({name}, {odd}): give --channels 1 or --channels 3"
    if writing or a[0] >= b[0]:
        return ""
    return f"it is in colour, and the first sample, {name}, is grey: give --channels 1 or 3"
