"""The Laplacian pyramid (Burt & Adelson 1983): the detail that each halving of an image's size removes."""

import torch
from torch import Tensor
from torch.nn import functional as F

_TAPS = (1, 4, 6, 4, 1)  # the binomial filter


def laplacian_pyramid(images: Tensor, smallest: int = 16) -> list[Tensor]:
    """Levels of images [n, C, H, W], float, from the finest; the last is the image at the smallest size.

    A level is the image less its blurred half-size version, brought back to size. Halving goes on while both
    sides stay at least ``smallest``, so images below twice that have one level: themselves.
    """
    levels = []
    while min(images.shape[2:]) >= 2 * smallest:
        half = _blurred(images)[:, :, ::2, ::2]
        levels.append(images - _enlarged(half, images.shape[2:]))
        images = half
    return [*levels, images]


def _blurred(images: Tensor, gain: float = 1.0) -> Tensor:
    taps = torch.tensor(_TAPS, dtype=images.dtype, device=images.device) / 16
    kernel = (gain * torch.outer(taps, taps)).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), "reflect"), kernel, groups=images.shape[1])


def _enlarged(half: Tensor, size: torch.Size) -> Tensor:
    sparse = half.new_zeros(*half.shape[:2], *size)
    sparse[:, :, ::2, ::2] = half
    return _blurred(sparse, gain=4.0)
