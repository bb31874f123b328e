"""Pictures of every mode of Pillow as grey or RGB of 8 bits a channel; what has no certain scale is refused.

8 bits and fewer are what they say; 9 to 16 are shifted to 8. Signed, longer and floating-point numbers say nothing of
what is black and white, so they are refused. Transparent pixels are composed on a colour.
"""

import numpy as np
from PIL import Image

from ragdist.modalities.image import colour

GREY = ("1", "L", "LA", "La")  # modes of grey pictures, beside those of `_is_deep`

_STRAIGHT = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}  # modes with alpha that other conversions do not start from
_BITS, _SAMPLE_FORMAT, _PHOTOMETRIC = 258, 339, 262  # tags of TIFF
_ADVICE = "save uint8, (255 * x).round().astype('uint8') if it goes from 0 to 1, x.astype('uint8') if from 0 to 255"


def is_grey(image: Image.Image) -> bool:
    """Whether a picture has no colour, by its mode."""
    return image.mode in GREY or _is_deep(image)


def eight_bits(image: Image.Image) -> Image.Image:
    """Bring a picture's numbers to 8 bits: modes of more become L, others are returned as they are.

    Raises:
        ValueError: its numbers have no certain scale.
    """
    if not _is_deep(image):
        return image
    if image.mode == "F":
        raise ValueError(f"its pixels are floating-point numbers, which say not what is white: {_ADVICE}")
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    bits, signed = int(np.atleast_1d(tags.get(_BITS, 16))[0]), 2 in np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1))
    if signed or bits > 16 or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError(f"its pixels are signed or long integers, which say not what is white: {_ADVICE}")
    result = (values.astype(np.int64).clip(0, (1 << bits) - 1) >> (bits - 8)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        result = 255 - result
    if "transparency" not in image.info:
        return Image.fromarray(result)
    alpha = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(result), Image.fromarray(alpha)))


def flat(image: Image.Image, grey: bool, background: tuple[int, int, int]) -> tuple[Image.Image, bool]:
    """Bring a picture of 8 bits to L or RGB; says whether anything was transparent, and so composed on a colour."""
    mode = "L" if grey else "RGB"
    if not image.has_transparency_data:
        if image.mode == "LAB":  # Pillow turns it into RGB alone
            image = image.convert("RGB")
        return (image if image.mode == mode else image.convert(mode)), False
    straight = image.convert(_STRAIGHT[image.mode]) if image.mode in _STRAIGHT else image
    rgba = np.asarray(straight.convert("RGBA"))
    if rgba[:, :, 3].min() == 255:
        image = straight.convert(mode) if straight.mode != mode else straight
        return image, False
    return Image.fromarray(colour.over(rgba, background)).convert(mode), True


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")
