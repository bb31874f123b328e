"""The headers of image files: dimensions and colour, read without unpacking a pixel."""

import warnings

from ragdist.modalities.image import converted, opened, png
from ragdist.modalities.image.options import MOST_PIXELS

GRAY, RGB = 1, 3  # channels; as the numbers of torchvision.io.ImageReadMode, too


def shape_of(data: memoryview | bytes, most: int = MOST_PIXELS) -> tuple[int, int, int]:
    """(channels, height, width) of an encoded image. Raises ValueError for none, or for more than ``most`` pixels."""
    data = bytes(data)
    if data[:8] == png.SIGNATURE:  # Pillow reads some damaged ones, too
        png.header_of(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow thinks of odd metadata
        image = opened.look(data, most)
    return (GRAY if converted.is_grey(image) else RGB, image.height, image.width)
