"""Pictures as Pillow opens them: any format but those that need other programs, limited in pixels, errors in words."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from PIL import Image, UnidentifiedImageError

from ragdist.modalities.image import webp
from ragdist.modalities.image.options import MOST_PIXELS

# Formats whose pixels another program makes (of EPS Ghostscript, of its code), and those without a decoder.
_LEFT_OUT = frozenset(("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"))
_NOT_READ = (  # what files begin with, in bytes from a place
    (4, rb"ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)", "HEIC"),
    (4, rb"ftyp(avif|avis)", "AVIF"),
    (4, rb"ftypcrx ", "a camera's raw format"),
    (0, rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (0, rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF unlike those that are known"),
    (0, rb"8BPS", "Photoshop"),
    (0, rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (0, rb"%PDF", "PDF"),
    (0, rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE[^>]*>\s*)*<svg", "SVG"),
    (0, rb"\x76\x2f\x31\x01", "OpenEXR"),
    (0, rb"#\?RADIANCE", "Radiance HDR"),
)
_NO_PICTURES = (  # what files begin with
    (rb"version https://git-lfs", "it is a pointer of Git LFS and not the picture: fetch it by `git lfs pull`"),
    (rb"(?i)\s*<(!DOCTYPE )?html", "it is a page of the web and no picture: a download may have failed"),
)
_ADDRESS = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


@contextmanager
def in_words(data: bytes) -> Iterator[None]:
    """Turn what Pillow raises for bytes that are no picture, or half of one, into a ValueError that says so."""
    try:
        yield
    except UnidentifiedImageError as error:  # its text is the address of a buffer
        raise ValueError(unknown(data)) from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds of exceptions for broken files
        text = _ADDRESS.sub("", str(error).splitlines()[0]).strip() if str(error) else ""
        raise ValueError(text or f"it is damaged ({type(error).__name__})") from error


def unknown(data: bytes) -> str:
    """What to say of bytes that nothing here reads as a picture."""
    for at, pattern, name in _NOT_READ:
        if re.match(pattern, data[at : at + 1000], re.DOTALL):
            return f"it is a picture of another kind ({name}), which cannot be read here: convert it to PNG or JPEG"
    return next((says for pattern, says in _NO_PICTURES if re.match(pattern, data[:1000])), "it is no image")


def look(data: bytes, most: int = MOST_PIXELS, *, side: int = 0, size: Sequence[int] = ()) -> Image.Image:
    """Open a picture without unpacking it.

    Args:
        data: a file.
        most: the pixels that it may unpack to.
        side: a JPEG is shrunk while it is unpacked, to no less than this; 0: it is not.
        size: (height, width) that it must have; empty: any.

    Raises:
        ValueError: it is no picture, damaged at its beginning, of another size, or has too many pixels.
    """
    most = math.prod(size) if size else most
    if webp.is_webp(data):  # of which Pillow takes memory for all pixels before it says how many
        header = webp.header_of(data)
        _check((header.width, header.height), most, size)
    with in_words(data), _unlimited():
        image = Image.open(io.BytesIO(data), formats=_formats())
    whole = image.size
    if side and (image.format == "JPEG" or whole[0] * whole[1] > most) and hasattr(image, "draft"):
        image.draft(None, (side, side))
    # A progressive JPEG is kept whole while it is unpacked, however small it becomes.
    _check(whole if image.info.get("progressive") else image.size, most, size)
    return image


def has_more_frames(image: Image.Image) -> bool:
    """Whether a picture that `look` opened has frames or pages after the first; a photograph's preview is none."""
    if image.format in ("JPEG", "MPO"):
        return False
    try:
        return getattr(image, "is_animated", False)
    except Exception:  # what follows is damaged
        return True


def load(image: Image.Image, data: bytes) -> None:
    """Unpack a picture that `look` opened. Raises ValueError where it is damaged."""
    with in_words(data), _unlimited():
        image.load()


def _check(found: tuple[int, int], most: int, size: Sequence[int]) -> None:
    if size:
        check_size(found, size)
    if found[0] * found[1] > most:
        raise ValueError(
            f"it is {found[0]}x{found[1]} pixels, which exceeds limit of {most:,} and could be decompression bomb: "
            "give a larger --max_pixels if it is none"
        )


def check_size(found: tuple[int, int], size: Sequence[int]) -> None:
    """Refuse a picture (width, height) of another ``size``, (height, width). Raises ValueError."""
    if found != (size[1], size[0]):
        raise ValueError(f"it is {found[0]}x{found[1]} pixels, not {size[1]}x{size[0]}")


@contextmanager
def _unlimited() -> Iterator[None]:
    """Leave the limit of pixels to `look`: Pillow has one for all callers, and judges JPEGs before they are shrunk."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name in Image.OPEN and name not in _LEFT_OUT)
