"""Images in training: from payloads to uint8 [channels, height, width], transforms, and the range [-1, 1].

JPEG is decoded by libjpeg-turbo, PNG and WebP by torchvision's decoders. Functions without a docstring are those of
`modalities.base.Training`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from simplejpeg import decode_jpeg, decode_jpeg_header
from torch import Tensor

from ragdist.modalities.base import Form
from ragdist.modalities.image.header import GRAY, RGB, shape_of
from ragdist.objective.relative import flatten

if TYPE_CHECKING:
    from ragdist.config.run import DataOptions

head = "tanh"
families = ("resnet", "dcgan", "mlp")


def decode(data: Tensor, form: Form) -> Tensor:
    shape = form.shape
    if (images := _jpegs([data.numpy()], shape)) is not None:
        return images[0]
    if data.numpy()[0] not in _PLAIN or len(data) > _plain_bytes(shape):
        _refuse_bombs(data.numpy(), shape)
    try:
        image = torchvision_decoder()(data, _mode(shape))
    except RuntimeError as error:
        raise _of_the_sample(error) from error
    if image.shape != shape:
        raise ValueError(f"its shape is {list(image.shape)}, not {list(shape)}")
    if image.element_size() != 1:
        raise ValueError("it has 16 bits a channel, not 8")
    return image


def decode_all(payloads: list[memoryview], form: Form) -> Tensor:
    shape = form.shape
    if (images := _jpegs(payloads, shape)) is not None:
        return images
    plain = _plain_bytes(shape)
    for payload in payloads:
        if not payload or payload[0] not in _PLAIN or len(payload) > plain:
            _refuse_bombs(payload, shape)
    whole = torch.frombuffer(bytearray().join(payloads), dtype=torch.uint8)
    try:
        with torch.inference_mode():
            parts = whole.split_with_sizes(list(map(len, payloads)))
            images = torch.stack(list(map(torchvision_decoder(), parts, repeat(_mode(shape)))))
    except RuntimeError as error:  # of the decoder, or of stack where they differ in shape
        raise _of_the_sample(error) from error
    if images.shape[1:] != shape or images.dtype != torch.uint8:
        raise ValueError(f"they are {images.dtype} {list(images.shape[1:])}, not uint8 {list(shape)}")
    return images.clone()  # a tensor like any other, outside of inference mode


def blank(count: int, form: Form) -> Tensor:
    return torch.zeros(count, *form.shape, dtype=torch.uint8)


def network_shape(form: Form) -> tuple[int, ...]:
    return form.shape


def to_network(samples: Tensor, form: Form) -> Tensor:
    return samples.float().div_(127.5).sub_(1.0)


def from_network(samples: Tensor, form: Form) -> Tensor:
    return samples.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte()


def check_transforms(options: DataOptions, form: Form) -> str:
    if options.crop_padding >= min(form.shape[1:], default=1):
        return f"--data.crop_padding {options.crop_padding}: samples of {list(form.shape)} allow less"
    return ""


def draws(options: DataOptions) -> int:
    return 3 if options.crop_padding or options.flip else 0  # row and column of the crop, flip


def transform(samples: Tensor, uniform: np.ndarray, options: DataOptions) -> Tensor:
    return augment(samples, uniform, options.crop_padding, options.flip)


def points(samples: Tensor, pool: int) -> Tensor:
    return flatten(samples, pool)


def augment(samples: Tensor, uniform: np.ndarray, crop_padding: int, flip: bool) -> Tensor:
    """Crop and mirror images uint8 [b, C, H, W] at random: image i by ``uniform`` [i, 3] in [0, 1)."""
    if not (crop_padding or flip):
        return samples
    uniform = torch.from_numpy(uniform)
    if not crop_padding:
        return torch.where(uniform[:, 2].view(-1, 1, 1, 1) < 0.5, samples.flip(3), samples)
    _, _, height, width = samples.shape
    rows = torch.arange(height) + _offset(uniform[:, 0], crop_padding)
    columns = torch.arange(width) + _offset(uniform[:, 1], crop_padding)
    if flip:
        columns = torch.where(uniform[:, 2:3] < 0.5, columns.flip(1), columns)
    rows, columns = _mirror(rows, height), _mirror(columns, width)
    batch = torch.arange(len(samples)).view(-1, 1, 1, 1)
    channel = torch.arange(samples.shape[1]).view(1, -1, 1, 1)
    return samples[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


_PLAIN = (0xFF, 0x89)  # first bytes of JPEG and PNG, which need many bytes for many pixels; others are looked at first
_PLAIN_BYTES = 65_536  # one of this size unpacks to some hundred megabytes at the very most
_CONVERTED = ("Gray", "YCbCr", "RGB")  # colour spaces of JPEGs that both decoders turn into the same pixels


def _jpegs(payloads: Sequence[memoryview | np.ndarray], shape: tuple[int, ...]) -> Tensor | None:
    """Payloads that are JPEGs of this shape without a fault -> uint8 [n, *shape]; None where one is anything else.

    libjpeg-turbo without torchvision around it: its bits in three quarters of its time. CMYK is left to torchvision,
    which converts it otherwise, and so is what is damaged, which torchvision refuses or reads on its own terms.
    """
    channels, height, width = shape
    colours = "GRAY" if channels == GRAY else "RGB"
    images = np.empty((len(payloads), height, width, channels), np.uint8)
    for payload, image in zip(payloads, images, strict=True):
        if bytes(payload[:2]) != b"\xff\xd8":
            return None
        try:
            high, wide, kind, _ = decode_jpeg_header(payload)
            if (high, wide) != (height, width) or kind not in _CONVERTED:
                return None
            decode_jpeg(payload, colours, buffer=image)
        except ValueError:
            return None
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


@cache
def torchvision_decoder() -> Callable[[Tensor, int], Tensor]:
    """torchvision's decoding operator: (uint8 [n], mode) -> uint8 [channels, height, width]."""
    # Only the library that registers the operator: `import torchvision` builds its models and datasets, too, and
    # imports all that torch.compile needs: two seconds in each process that decodes.
    folder = Path(find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(min(folder.glob("image*.so")))
    except (ValueError, OSError):  # none, or one that needs what its package prepares
        import torchvision.io  # noqa: F401

    # The operator itself: torchvision.io.decode_image adds a tenth to the time of a small image, and the Python
    # method around the operator another.
    operator = torch.ops.image.decode_image.default
    return getattr(operator, "_op", operator)


def _mode(shape: tuple[int, ...]) -> int:
    """torchvision.io.ImageReadMode of samples of this shape."""
    return GRAY if shape[0] == 1 else RGB


def _plain_bytes(shape: tuple[int, ...]) -> int:
    return _PLAIN_BYTES + 4 * shape[0] * shape[1] * shape[2]


def _of_the_sample(error: RuntimeError) -> ValueError:
    """The decoder's error as a ValueError about the payload; raised again where this machine lacks memory."""
    if "allocate" in str(error):
        raise error
    return ValueError(str(error).splitlines()[0])


def _refuse_bombs(data: Any, shape: tuple[int, ...]) -> None:
    """Check the dimensions in a payload's header before it is unpacked. Raises ValueError for other ones."""
    _, height, width = shape_of(data)
    if (height, width) != tuple(shape[1:]):
        raise ValueError(f"it is {width}x{height} pixels, not {shape[2]}x{shape[1]}")


def _offset(uniform: Tensor, padding: int) -> Tensor:
    """Random offsets from -padding to padding, uniform: int64 [b, 1]."""
    return (uniform * (2 * padding + 1)).long().unsqueeze(1) - padding


def _mirror(places: Tensor, size: int) -> Tensor:
    """Reflect coordinates beyond an edge back inside (G would learn a black border)."""
    places = places.abs()
    return torch.where(places >= size, 2 * (size - 1) - places, places)
