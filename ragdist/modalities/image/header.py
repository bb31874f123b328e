"""The headers of image files: dimensions and colour, read without unpacking a pixel."""

import io
import warnings

GRAY, RGB = 1, 3  # channels; as the numbers of torchvision.io.ImageReadMode, too


def shape_of(data: memoryview | bytes) -> tuple[int, int, int]:
    """(channels, height, width) of an encoded image. Raises ValueError for none, or one of too many pixels."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(bytes(data))) as image:
                width, height = image.size
                grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
        except UnidentifiedImageError as error:  # its text is the address of a buffer
            raise ValueError("it is no image") from error
        except (
            Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, SyntaxError, ValueError, EOFError,
        ) as error:  # fmt: skip
            raise ValueError(str(error)) from error
    return (GRAY if grey else RGB, height, width)
