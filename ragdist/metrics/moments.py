"""Mean and covariance of features as sums that can be added up over batches, parts and workers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """Sums over feature vectors; the sums of two disjoint sets add up to those of their union.

    All in float64: count [], total [d], outer [d, d]. A worker sums its share of the samples; an all-reduce
    of the three tensors gives every worker the whole.
    """

    count: Tensor  # how many
    total: Tensor  # sum of f
    outer: Tensor  # sum of f f^T

    @classmethod
    def zero(cls, dim: int, device: torch.device | str = "cpu") -> Moments:
        """Moments of no vectors, of this length."""
        zeros = torch.zeros(dim * dim + dim + 1, dtype=torch.float64, device=device)
        return cls(zeros[0], zeros[1 : dim + 1], zeros[dim + 1 :].view(dim, dim))

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Moments of features [n, d]."""
        sums = cls.zero(features.shape[1], features.device)
        sums.add(features)
        return sums

    def add(self, features: Tensor) -> None:
        """Add features [n, d]."""
        features = features.double()
        self.count += len(features)
        self.total += features.sum(0)
        self.outer.addmm_(features.T, features)

    def mean(self) -> Tensor:
        """Mean, float64 [d]."""
        return self.total / self.count

    def covariance(self) -> Tensor:
        """Unbiased covariance, float64 [d, d]; of at least two vectors."""
        mean = self.mean()
        return (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)
