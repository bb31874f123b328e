"""Colours: grey of RGB, RGB of CMYK, and what shows through transparent pixels."""

from functools import lru_cache

import numpy as np

from ragdist.tools.errors import UserError

_RED, _GREEN = 9794, 19234  # of 32,768: 0.2989 and 0.587
_INSIGNIFICANT = 5_000  # a gamma that is this near to 1, in 1/100,000


def grey_of(rgb: np.ndarray, gamma: int = 0) -> np.ndarray:
    """Luma of uint8 [..., 3]: uint8 [..., 1], to the bit as libpng rounds it.

    ``gamma``: of the file, in 1/100,000; 0: unknown. A known one is undone before the sum and done again after it.
    """
    if not 16 <= gamma <= 625_000_000 or abs(gamma - 100_000) <= _INSIGNIFICANT:
        return (_weighted(rgb) >> 15).astype(np.uint8)
    inverse = (10**10 + gamma // 2) // gamma
    summed = _power(gamma)[_weighted(_power(inverse)[rgb]) + 16_384 >> 15]
    return np.where((rgb == rgb[..., :1]).all(-1, keepdims=True), rgb[..., :1], summed)


def _weighted(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.int32)
    red, green, blue = wide[..., :1], wide[..., 1:2], wide[..., 2:]
    return _RED * red + _GREEN * green + (32_768 - _RED - _GREEN) * blue


@lru_cache(64)
def _power(gamma: int) -> np.ndarray:
    """The table of 8-bit values to the power of ``gamma`` / 100,000."""
    return np.floor(255 * (np.arange(256) / 255) ** (gamma / 100_000) + 0.5).astype(np.uint8)


def over(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Compose uint8 [..., 4] on a colour: uint8 [..., 3]."""
    alpha = rgba[..., 3:].astype(np.uint16)
    below = np.array(background, np.uint16) * (255 - alpha)
    return ((rgba[..., :3] * alpha + below + 127) // 255).astype(np.uint8)


def hexadecimal(name: str) -> str:
    """A colour as #rrggbb. Raises UserError for what is none."""
    return "#{:02x}{:02x}{:02x}".format(*named(name))


@lru_cache(64)
def named(name: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour's name, or of #RRGGBB. Raises UserError for what is none."""
    from PIL import ImageColor  # by those who say one

    try:
        red, green, blue = ImageColor.getrgb(name)
    except ValueError as error:
        raise UserError(f"--background {name}: give a colour, as white, black, or '#808080'") from error
    return red, green, blue
