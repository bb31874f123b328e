"""The header of a WebP file, and its pixels by libwebp.

https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # the processes that write shards need no PyTorch
    from torch import Tensor

_ANIMATION, _ALPHA = 0x02, 0x10


class Header(NamedTuple):
    """What a WebP file says of its picture."""

    width: int
    height: int
    transparent: bool  # whether pixels may be
    animated: bool


def is_webp(data: memoryview | bytes) -> bool:
    """Whether a file begins as a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def header_of(data: memoryview | bytes) -> Header:
    """Read the header of a WebP file. Raises ValueError for one that is damaged."""
    kind, body = bytes(data[12:16]), bytes(data[20:30])
    if len(body) < 10:
        raise ValueError("it is cut off")
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
        return Header(width, height, bool(body[0] & _ALPHA), bool(body[0] & _ANIMATION))
    if kind == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return Header(width, height, False, False)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1), False)
    raise ValueError("it is no WebP as the standard knows it")


def pixels_of(data: memoryview, channels: int) -> np.ndarray:
    """Decode a file: uint8 [height, width, channels].

    Args:
        data: a file that is no animation, and of which `header_of` said that it unpacks to no more than is wanted.
        channels: 3: RGB without regard to transparency; 4: RGB and alpha.

    Raises:
        ValueError: it is damaged.
    """
    import torch

    try:
        image = torchvision_operator("decode_webp")(torch.frombuffer(bytearray(data), dtype=torch.uint8), channels)
    except RuntimeError as error:
        if "allocate" in str(error):  # this machine lacks memory
            raise
        raise ValueError("it is damaged or cut off") from error
    return image.permute(1, 2, 0).numpy()


@cache
def torchvision_operator(name: str) -> Callable[[Tensor, int], Tensor] | None:
    """A decoding operator of torchvision: (uint8 [n], channels) -> uint8 [channels, height, width].

    None where torchvision has it no more: it is to lose its decoders.
    """
    import torch

    # Only the library that registers the operator: `import torchvision` builds its models and datasets, too, and
    # imports all that torch.compile needs: two seconds in each process that decodes.
    folder = Path(find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(min(folder.glob("image*.so")))
    except (ValueError, OSError):  # none, or one that needs what its package prepares
        with suppress(ImportError):
            import torchvision.io  # noqa: F401

    # The operator itself: the Python method around it adds a tenth to the time of a small image.
    operator = getattr(getattr(torch.ops.image, name, None), "default", None)
    return getattr(operator, "_op", operator)
