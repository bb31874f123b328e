"""Features of images that need no network: averaged pixels, and a Laplacian pyramid."""

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.metrics.extractor import Extractor, Features
from ragdist.modalities.image.pyramid import laplacian_pyramid

POOLED = 16  # most values an axis
_LARGEST, _CELLS = 64, 4


class Pixels(Extractor):
    """Pixels: the image averaged down to at most 16x16, from -1 to 1.

    It needs no network and no labels, and knows nothing of shapes: a shift by a pixel is a difference. At 16x16
    there are 768 numbers an RGB image, which some thousand samples determine; at 32x32 there would be 3,072.
    """

    name = "pixels"

    def __init__(self, shape: tuple[int, ...]):
        channels, height, width = shape
        self.size = (min(height, POOLED), min(width, POOLED))
        self.dim = channels * self.size[0] * self.size[1]
        self.resizing = f"averaged to {self.size[1]}x{self.size[0]}"
        self.sha256 = _formula_sha256(f"pixels 1: adaptive average to {self.size} of {shape}, /127.5 - 1")
        self.about = {}

    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        return (F.adaptive_avg_pool2d(images.float(), self.size) / 127.5 - 1).flatten(1), None


class Laplacian(Extractor):
    """Detail of each scale in each part of the image, and the image at its coarsest scale.

    For each level of the Laplacian pyramid but the last, the mean absolute value in 4x4 cells, times 4, for a
    cell stands for many pixels; then the last level at 8x8. It needs no network, sees texture, and forgives
    small shifts.
    """

    name = "laplacian"

    def __init__(self, shape: tuple[int, ...]):
        _, height, width = shape
        self.size = (min(height, _LARGEST), min(width, _LARGEST))
        self.resizing = f"averaged to {self.size[1]}x{self.size[0]}"
        self.sha256 = _formula_sha256(f"laplacian 1: {self.size} of {shape}, cells {_CELLS}, last level 8, smallest 8")
        self.about = {}
        self.dim = self(torch.zeros(1, *shape, dtype=torch.uint8))[0].shape[1]

    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        images = F.adaptive_avg_pool2d(images.float(), self.size) / 127.5 - 1
        *levels, last = laplacian_pyramid(images, smallest=8)
        cells = [F.adaptive_avg_pool2d(level.abs(), _CELLS).flatten(1) * 4 for level in levels]
        return torch.cat([*cells, F.adaptive_avg_pool2d(last, 8).flatten(1)], 1), None


def _formula_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


PIXELS = Features(lambda source: Pixels(source.shape))
LAPLACIAN = Features(lambda source: Laplacian(source.shape))
