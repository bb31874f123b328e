"""Options of making images from files, and of indexing images that others packed."""

from dataclasses import dataclass
from typing import Literal

from ragdist.config.option import common, option
from ragdist.modalities.image import colour

MOST_PIXELS = 89_478_485  # a quarter of a gigabyte in RGB


@dataclass
class ImageOptions:
    """How pictures become samples."""

    size: int = common(0, at_least=0, at_most=2**15)
    """side of the samples in pixels: images are made square as --fit says and resized; 0: as they are, all alike"""
    fit: Literal["crop", "pad"] = common("crop")
    """of an image that is no square crop: its centre, pad: all of it, with black beside"""
    channels: Literal[0, 1, 3] = common(0)
    """1: grey, 3: RGB; 0: as they are, all alike"""
    format: Literal["keep", "png", "jpg"] = "keep"
    """keep: an image that needs no change keeps its bytes, others become PNG; png, jpg: encode all anew"""
    quality: int = option(95, at_least=1, at_most=100)
    """of JPEG, 1 to 100"""
    background: str = "white"
    """colour that shows through transparent parts: a name, or '#RRGGBB'"""
    max_pixels: int = option(MOST_PIXELS, at_least=1)
    """images that unpack to more pixels are refused, as a small file may be a bomb; a JPEG of any size is unpacked at a
    size near --size"""

    def __post_init__(self):
        colour.named(self.background)


@dataclass
class ImageIndexOptions:
    """How pictures in shards that others wrote become samples."""

    channels: Literal[0, 1, 3] = 0
    """1: grey, 3: RGB; 0: as the first sample is"""
    background: str = "white"
    """colour that shows through transparent parts: a name, or '#RRGGBB'"""
    max_pixels: int = option(MOST_PIXELS, at_least=1)
    """images of more pixels are refused, as a small file may be a bomb"""

    def __post_init__(self):
        colour.named(self.background)
