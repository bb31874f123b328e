"""Sliced Wasserstein distance between patches of the Laplacian pyramid's levels (Karras et al. 2018)."""

import numpy as np
import torch
from torch import Tensor

from ragdist.modalities.image.pyramid import laplacian_pyramid
from ragdist.tools import noise

PATCH = 7  # pixels
PATCHES = 64  # of an image and level
DIRECTIONS = 128
_BATCH = 256


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """The mean, over random directions, of the Wasserstein-1 distance between projections of a [n, d] and b [n, d].

    In one dimension it is the mean difference of the sorted values (Rabin et al. 2011). As many of one as of the other.
    """
    assert a.shape == b.shape
    along = torch.from_numpy(noise.normal(seed, noise.PROJECTION, 0, directions, a.shape[1])).to(a)
    along = (along / along.norm(dim=1, keepdim=True)).T
    differences = [((a @ part).sort(0).values - (b @ part).sort(0).values).abs().mean(0) for part in along.split(16, 1)]
    return float(torch.cat(differences).double().mean())


def pyramid_distances(fakes: Tensor, reals: Tensor, seed: int = 0) -> dict[int, float]:
    """Distances of the pyramid's levels: {side in pixels: sliced Wasserstein distance times 1,000}, the finest first.

    Local texture at each scale; what is where in the image does not count. Not 0 for equal distributions: the
    same figure between two halves of the data says what is reachable.

    Args:
        fakes, reals: uint8 [n, C, H, W], as many of one as of the other.
    """
    found = {}
    for side, a, b in zip(
        [min(level.shape[2:]) for level in laplacian_pyramid(fakes[:1].float())],
        _descriptors(fakes, seed),
        _descriptors(reals, seed),
        strict=True,
    ):
        found[side] = 1000 * sliced_wasserstein(a, b, seed=seed)
    return found


def _descriptors(images: Tensor, seed: int) -> list[Tensor]:
    """For each level, patches [n * PATCHES, C * patch^2], each channel to mean 0 and deviation 1 over all of them."""
    levels: list[list[Tensor]] = []
    for first in range(0, len(images), _BATCH):
        pyramid = laplacian_pyramid(images[first : first + _BATCH].float())
        levels = levels or [[] for _ in pyramid]
        for number, (kept, level) in enumerate(zip(levels, pyramid, strict=True)):
            kept.append(_patches(level, first, seed * 64 + number))
    return [_normalized(torch.cat(kept)) for kept in levels]


def _patches(level: Tensor, first: int, seed: int) -> Tensor:
    """PATCHES random patches of each image [n, PATCHES, C, patch, patch]; where they are depends on its number."""
    n, _, height, width = level.shape
    patch = min(PATCH, height, width)
    uniform = noise.uniform(seed, noise.PROJECTION, first, n, 2 * PATCHES).reshape(n, PATCHES, 2)
    corner = np.floor(uniform * [height - patch + 1, width - patch + 1]).astype(np.int64)
    corner = torch.from_numpy(corner).to(level.device)
    windows = level.unfold(2, patch, 1).unfold(3, patch, 1)  # [n, C, rows, columns, patch, patch], a view
    image = torch.arange(n, device=level.device).unsqueeze(1)
    return windows[image, :, corner[..., 0], corner[..., 1]]


def _normalized(patches: Tensor) -> Tensor:
    mean = patches.mean((0, 1, 3, 4), keepdim=True)
    deviation = patches.std((0, 1, 3, 4), keepdim=True).clamp(min=1e-8)
    return ((patches - mean) / deviation).flatten(0, 1).flatten(1)
