"""Inversion of a generator: the latents whose samples come nearest to given ones."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ragdist.modalities.base import Training
from ragdist.networks.base import Generator


class Inverted(NamedTuple):
    """Latents that were found for n samples."""

    residual: Tensor  # float32 [n]: Euclidean distance of points that is left
    z: Tensor  # float32 [n, z_dim]


def invert(
    generator: Generator,
    modality: Training,
    pool: int,
    target: Tensor,
    start: Tensor,
    labels: Tensor | None,
    *,
    steps: int,
    rate: float,
) -> Inverted:
    """Minimize the squared distance between points of G(z) and of samples over z, by Adam with a falling rate.

    Each sample's latent goes its own way, from its start, and the nearest sample on the way counts (as AnoGAN's
    residual, Schlegl et al. 2017, without a term of D: that is a score of its own).

    Args:
        generator: without gradients of its weights.
        modality: of the samples.
        pool: of the space of points.
        target: points of the samples, float32 [n, D].
        start: latents, [n, z_dim].
        labels: int64 [n], which stay; None: G takes none.
        steps: of Adam.
        rate: at the first step; it falls to zero on a cosine.
    """
    z = start.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=rate, betas=(0.9, 0.99))
    best, found = torch.full((len(z),), torch.inf, device=z.device), start.clone()
    for step in range(steps + 1):
        square = (modality.points(generator(z, labels), pool) - target).square().sum(1)
        nearer = square.detach() < best
        best = torch.where(nearer, square.detach(), best)
        found = torch.where(nearer.unsqueeze(1), z.detach(), found)
        if step == steps:
            break
        adam.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        (z.grad,) = torch.autograd.grad(square.sum(), z)
        adam.step()
    return Inverted(best.sqrt(), found)
