"""Mixtures of Gaussians in the plane: the 25-Gaussian grid and the 8-Gaussian ring.

Protocol of Metz et al. 2017, Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN): 2,500 samples; one is of
high quality if it lies within three standard deviations of its nearest mode's centre; a mode is covered if one of
these is its own. The divergence is that of the high-quality samples' modes from equal shares.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SAMPLES = 2_500


class Toy(NamedTuple):
    """A mixture of equal parts, scaled into the square from -1 to 1 that generators reach."""

    centres: Tensor  # float32 [modes, 2]
    std: float

    def draw(self, random: torch.Generator, count: int) -> Tensor:
        """Draw reals at random, float32 [count, 2]."""
        which = torch.randint(len(self.centres), (count,), generator=random)
        return self.centres[which] + self.std * torch.randn(count, 2, generator=random)

    def judge(self, samples: Tensor) -> dict[str, float]:
        """Judge samples [n, 2]: modes, high_quality and kl."""
        distance, mode = torch.cdist(samples, self.centres, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        good = distance <= 3 * self.std
        counts = torch.bincount(mode[good], minlength=len(self.centres)).double()
        share = counts / counts.sum().clamp(min=1)
        kl = float(torch.where(share > 0, share * (share * len(share)).log(), 0.0).sum()) if good.any() else math.inf
        return {"modes": int((counts > 0).sum()), "high_quality": float(good.double().mean()), "kl": kl}


def grid() -> Toy:
    """25 Gaussians of standard deviation 0.05 at (-4 + 2i, -4 + 2j), all divided by 5."""
    axis = torch.arange(5.0) * 2 - 4
    return Toy(torch.cartesian_prod(axis, axis) / 5, 0.05 / 5)


def ring() -> Toy:
    """8 Gaussians of standard deviation 0.01 on a circle of radius 1, all divided by 1.25."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    return Toy(torch.stack([angle.cos(), angle.sin()], 1) / 1.25, 0.01 / 1.25)
