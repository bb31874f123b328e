"""Images in training: from payloads to uint8 [channels, height, width], transforms, and the range [-1, 1].

Functions without a docstring are those of `modalities.base.Training`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ragdist.modalities.base import Form
from ragdist.modalities.image import decoding
from ragdist.modalities.image.augmentations import AUGMENTATIONS
from ragdist.objective.relative import flatten

if TYPE_CHECKING:
    from ragdist.config.run import DataOptions

head = "tanh"
families = ("resnet", "dcgan", "mlp")
augmentations = AUGMENTATIONS
points_are = "pixels"


def decode(data: Tensor, form: Form) -> Tensor:
    return decode_all([memoryview(data.numpy())], form)[0]


def decode_all(payloads: list[memoryview], form: Form) -> Tensor:
    images = np.require(decoding.decode(payloads, form), requirements="W")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


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


def _offset(uniform: Tensor, padding: int) -> Tensor:
    """Random offsets from -padding to padding, uniform: int64 [b, 1]."""
    return (uniform * (2 * padding + 1)).long().unsqueeze(1) - padding


def _mirror(places: Tensor, size: int) -> Tensor:
    """Reflect coordinates beyond an edge back inside (G would learn a black border)."""
    places = places.abs()
    return torch.where(places >= size, 2 * (size - 1) - places, places)
