"""MS-SSIM between pairs of samples (Wang et al. 2003), as a measure of diversity (Odena et al. 2017)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.tools import noise

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the finest
WINDOW, SIGMA = 11, 1.5
PAIRS = 2000
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BATCH = 64


class Diversity(NamedTuple):
    """The mean MS-SSIM of pairs of images, and of how many."""

    value: float  # mean MS-SSIM of pairs
    error: float  # standard error
    pairs: int
    scales: int


def scales_for(height: int, width: int) -> int:
    """The number of scales, of five, that images of this size allow: the window must fit into the smallest."""
    side = min(height, width)
    return max(1, min(len(WEIGHTS), 1 + int(math.log2(max(side // WINDOW, 1)))))


def ms_ssim(a: Tensor, b: Tensor, scales: int | None = None) -> Tensor:
    """MS-SSIM of images a and b, pair by pair: [n], at most 1, which equal images have.

    Small images have fewer scales, whose weights are scaled to add up to 1; images smaller than the window
    of 11 pixels have a smaller one. Figures of different sizes are not comparable.

    Args:
        a, b: [n, C, H, W], uint8 or float from 0 to 255.
        scales: of the five; by default `scales_for` the size.
    """
    scales = scales or scales_for(*a.shape[2:])
    weights = torch.tensor(WEIGHTS[:scales], dtype=torch.float64)
    weights = (weights / weights.sum()).tolist()
    a, b = a.float(), b.float()
    result = torch.ones(len(a), dtype=torch.float64, device=a.device)
    for scale, weight in enumerate(weights):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        similarity, contrast = _ssim(a, b)
        factor = similarity if scale == scales - 1 else contrast
        result *= factor.double().clamp(min=0) ** weight
    return result


def diversity(images: Tensor, pairs: int = PAIRS) -> Diversity:
    """The mean MS-SSIM of random pairs of images [n, C, H, W], each image in one pair at most; less is more diverse.

    It finds collapse and nothing finer: compare it with the same figure of the data, which it should equal.
    """
    count = min(pairs, len(images) // 2)
    scales = scales_for(*images.shape[2:])
    # Neighbours may have something to do with each other, such as classes that are drawn in turn.
    order = torch.from_numpy(noise.permutation(0, noise.PROJECTION, 0, len(images))[: 2 * count])
    chosen = zip(order[::2].split(_BATCH), order[1::2].split(_BATCH), strict=True)
    found = torch.cat([ms_ssim(images[a], images[b], scales) for a, b in chosen])
    error = float(found.std() / math.sqrt(count)) if count > 1 else math.nan
    return Diversity(float(found.mean()), error, count, scales)


def _ssim(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean similarity, and mean contrast and structure alone, over pixels and channels: [n] each."""
    channels = a.shape[1]
    size = min(WINDOW, *a.shape[2:])
    size -= 1 - size % 2
    place = torch.arange(size, dtype=a.dtype, device=a.device) - size // 2
    taps = torch.exp(-place.square() / (2 * SIGMA**2))
    taps = taps / taps.sum()
    # Five local means at once: of a, b, a^2, b^2 and ab.
    stack = torch.cat([a, b, a * a, b * b, a * b], 1)
    stack = F.conv2d(stack, taps.view(1, 1, -1, 1).expand(5 * channels, 1, size, 1), groups=5 * channels)
    stack = F.conv2d(stack, taps.view(1, 1, 1, -1).expand(5 * channels, 1, 1, size), groups=5 * channels)
    mean_a, mean_b, aa, bb, ab = stack.chunk(5, 1)
    variances = (aa - mean_a**2).clamp(min=0) + (bb - mean_b**2).clamp(min=0)
    contrast = (2 * (ab - mean_a * mean_b) + _C2) / (variances + _C2)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return (luminance * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3))
