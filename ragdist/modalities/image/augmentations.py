"""Augmentations of images [channels, height, width] in [-1, 1]: DiffAugment's, and ADA's.

DiffAugment (Zhao et al. 2020): colours, translation and cutout. ADA (Karras et al. 2020): blit, geometry, colours, a
filter, noise, cutout, with the authors' ranges. Different here: images are interpolated bilinearly at their own size,
where ADA doubles them with a wavelet's filter before and halves them after; and small images have fewer filter bands.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.modalities.augmentations import (
    Augmentations,
    Shape,
    Transform,
    each_sample,
    gathered,
    kept,
    moved,
    noise,
    noise_draws,
    normal,
    steps,
)

# DiffAugment's.


def brightness(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Up to a quarter of the range brighter or darker."""
    return images + each_sample((uniform - 0.5) * on, images)


def saturation(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """From grey to twice as colourful."""
    grey = images.mean(1, keepdim=True)
    return images + (images - grey) * each_sample((2 * uniform - 1) * on, images)


def contrast(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Half to one and a half times the differences from the mean."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return images + (images - mean) * each_sample((uniform - 0.5) * on, images)


def translation(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Moved by up to an eighth of the height and width; zeros come in."""
    for dim, draw in ((2, uniform[:, :1]), (3, uniform[:, 1:])):
        most = int(images.shape[dim] / 8 + 0.5)
        images = moved(images, (steps(draw, 2 * most + 1) - most) * on.long(), dim)
    return images


def cutout(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Zeros in a rectangle of half the height and width, around any place."""
    height, width = images.shape[2:]
    rows = kept(height, int(height / 2 + 0.5), on, uniform[:, :1])[:, None, :, None]
    columns = kept(width, int(width / 2 + 0.5), on, uniform[:, 1:])[:, None, None, :]
    return images * (1 - (1 - rows) * (1 - columns))


# ADA's.


def flip(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Mirrored left and right, every second."""
    return torch.where(each_sample((uniform < 0.5) & (on > 0), images), images.flip(3), images)


def turn(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Turned by a multiple of a right angle, or of two where images are not square."""
    quarters = steps(uniform, 4) * on.long()
    if images.shape[2] == images.shape[3]:
        images = torch.where(each_sample(quarters % 2 == 1, images), images.transpose(2, 3).flip(3), images)
    return torch.where(each_sample(quarters >= 2, images), images.flip((2, 3)), images)


def shift(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Moved by whole pixels, up to an eighth of the height and width; what comes in is mirrored."""
    for dim, draw in ((2, uniform[:, :1]), (3, uniform[:, 1:])):
        size = images.shape[dim]
        most = size // 8
        places = torch.arange(size, device=images.device) - (steps(draw, 2 * most + 1) - most) * on.long()
        places = places.abs()
        places = torch.where(places >= size, 2 * (size - 1) - places, places)
        images = gathered(images, places.reshape(-1, *(size if axis == dim else 1 for axis in (1, 2, 3))), dim)
    return images


def geometry(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Scaled, turned, stretched, turned again and moved by parts of a pixel, at once; what comes in is mirrored."""
    height, width = images.shape[2:]
    n = normal(uniform)
    scale = torch.exp2(0.2 * n[:, 0] * on[:, 0])
    stretch = torch.exp2(0.2 * n[:, 2] * on[:, 2])
    before, after = ((2 * uniform[:, i] - 1) * math.pi * on[:, i] for i in (1, 3))
    move = 0.125 * n[:, 4:6] * on[:, 4:5]
    # From a place of the result to the place that it shows, in pixels from the middle.
    inverse = (
        _turned(-before) @ torch.diag_embed(torch.stack([1 / (scale * stretch), stretch / scale], 1)) @ _turned(-after)
    )
    to_pixels = inverse.new_tensor([width / 2, height / 2])
    matrix = inverse * to_pixels / to_pixels.unsqueeze(1)
    offset = -(inverse @ (move * to_pixels * 2).unsqueeze(2)) / to_pixels.unsqueeze(1)
    grid = F.affine_grid(torch.cat([matrix, offset], 2), list(images.shape), align_corners=False)
    return _Sampled.apply(images, grid)


def _turned(angle: Tensor) -> Tensor:
    """Rotations [b, 2, 2] of angles [b]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


class _Sampled(torch.autograd.Function):
    """Images at places of a grid, bilinear; its gradient at the images can be differentiated, as PyTorch's cannot."""

    @staticmethod
    def forward(ctx, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Spread.apply(gradient, ctx.saved_tensors[0], ctx.shape), None


class _Spread(torch.autograd.Function):
    """The transpose of `_Sampled`, which is linear in the images."""

    @staticmethod
    def forward(ctx, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        images = gradient.new_zeros(shape)
        bilinear, reflection = 0, 2
        backward = torch.ops.aten.grid_sampler_2d_backward
        return backward(gradient, images, grid, bilinear, reflection, False, [True, False])[0]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Sampled.apply(gradient, ctx.saved_tensors[0]), None, None


def tone(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Brightness, contrast, inverted lightness, hue and saturation, as one matrix of colours."""
    n, grey = normal(uniform), images.shape[1] == 1
    lightness = images.new_full((3, 3), 1 / 3)  # projects a colour on the axis of greys
    rest = torch.eye(3, device=images.device, dtype=images.dtype) - lightness
    matrix = _scaled(torch.exp2(0.5 * n[:, 1] * on[:, 1]), lightness + rest)
    offset = 0.2 * n[:, 0] * on[:, 0] * torch.exp2(0.5 * n[:, 1] * on[:, 1])
    inverted = 1 - 2 * (uniform[:, 2] < 0.5).to(images.dtype) * on[:, 2]
    offset = offset * inverted
    matrix = (_scaled(inverted, lightness) + rest) @ matrix
    if not grey:
        angle = (2 * uniform[:, 3] - 1) * math.pi * on[:, 3]
        colourful = torch.exp2(n[:, 4] * on[:, 4])
        cross = images.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        hue = lightness + _scaled(angle.cos(), rest) + _scaled(angle.sin(), cross)
        matrix = (lightness + _scaled(colourful, rest)) @ hue @ matrix
    if grey:
        return images * each_sample(matrix.sum(2).mean(1), images) + each_sample(offset, images)
    return (matrix @ images.flatten(2)).reshape(images.shape) + each_sample(offset, images)


def _scaled(factors: Tensor, matrix: Tensor) -> Tensor:
    return factors.reshape(-1, 1, 1) * matrix


_SYMLET = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)  # Daubechies' sym2
_POWER = (10.0, 1.0, 1.0, 1.0)  # of octaves of photographs, the lowest first


def bands(images: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Octaves of frequency amplified or weakened, with the power that photographs have kept."""
    bank = torch.from_numpy(_bank(_octaves(min(images.shape[2:])))).to(images)
    power = images.new_tensor(_POWER[: len(bank)])
    power = power / power.sum()
    gains = images.new_ones(len(images), len(bank))
    for band in range(len(bank)):
        own = torch.ones_like(gains)
        own[:, band] = torch.exp2(normal(uniform[:, band]) * on[:, band])
        gains = gains * own / (own.square() * power).sum(1, keepdim=True).sqrt()
    taps = gains @ bank  # [b, length], a filter for each image
    count, channels, height, width = images.shape
    weights, side = taps.repeat_interleave(channels, 0), bank.shape[1] // 2
    x = F.pad(images.reshape(1, count * channels, height, width), [side] * 4, "reflect")
    x = F.conv2d(x, weights[:, None, None, :], groups=count * channels)
    x = F.conv2d(x, weights[:, None, :, None], groups=count * channels)
    return x.reshape(images.shape)


def _octaves(size: int) -> int:
    """How many bands, at most four, have filters that fit an image."""
    return max(count for count in range(1, len(_POWER) + 1) if count == 1 or _bank(count).shape[1] // 2 < size)


@functools.cache
def _bank(count: int) -> np.ndarray:
    """Filters of octaves, the lowest first, which add up to the identity: float32 [count, length]."""
    low = np.array(_SYMLET)
    high = low * (-1.0) ** np.arange(len(low))
    both = [np.convolve(each, each[::-1]) / 2 for each in (low, high)]
    found = np.ones((1, 1))
    for _ in range(count - 1):
        wide = np.zeros((len(found), 2 * found.shape[1] - 1))
        wide[:, ::2] = found
        wide = np.stack([np.convolve(row, both[0]) for row in wide])
        side = (wide.shape[1] - len(both[1])) // 2
        found = np.concatenate([wide, np.pad(both[1], side)[None]])
    return found.astype(np.float32)


def _check(name: str, shape: Shape) -> str:
    if name in ("tone", "saturation") and shape[0] not in (1, 3):
        return f"'{name}' is of colours: it takes 1 or 3 channels and not {shape[0]}"
    return ""


AUGMENTATIONS = Augmentations(
    {
        "flip": Transform(flip),
        "turn": Transform(turn),
        "shift": Transform(shift, 2),
        "geometry": Transform(geometry, 6, 5),
        "brightness": Transform(brightness),
        "saturation": Transform(saturation),
        "contrast": Transform(contrast),
        "tone": Transform(tone, 5, 5),
        "translation": Transform(translation, 2),
        "filter": Transform(bands, len(_POWER), len(_POWER)),
        "noise": Transform(noise, noise_draws),
        "cutout": Transform(cutout, 2),
    },
    {
        "diffaugment": "color,translation,cutout",
        "color": "brightness,saturation,contrast",
        "ada": "blit,geometry,tone",
        "blit": "flip,turn,shift",
    },
    frozenset({"ada"}),
    _check,
)
