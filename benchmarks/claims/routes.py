"""Routes through a grid world: which of all shortest ways a generator finds, and how often it runs into an obstacle.

The data are the walks of the source ``paths``, whose rarest way is walked a twentieth as often as the most frequent
one; other walks of the same ways, which no generator has seen, judge it, as many of its samples as of them.
"""

import numpy as np
import torch
from torch import Tensor

from ragdist.data.sources import paths as source
from ragdist.metrics.density_coverage import density_coverage
from ragdist.metrics.precision_recall import precision_recall
from ragdist.modalities.array import making, paths, training
from ragdist.modalities.array.features import Numbers
from ragdist.modalities.array.measures import counted
from ragdist.modalities.array.options import ArrayOptions
from ragdist.modalities.array.shapes import js_divergence
from ragdist.modalities.base import Form


class Routes:
    """The walks and their judge.

    Args:
        every: of the walks' steps, so many apart, are there.
    """

    classes = 0
    points = staticmethod(training.points)

    def __init__(self, every: int):
        about = source.about()
        walks, held_out = (source.made(about, seed)[:, :, ::every].copy() for seed in (0, 1))
        learned = making.fit(walks, ArrayOptions()).channels
        self.form = Form(walks.shape[1:], {"shift": learned.shift, "scale": learned.scale})
        self.shape, self.count = self.form.shape, len(held_out)
        self.how = about["routes"], about["tolerance"], about["obstacles"]
        self.features = Numbers(self.form)
        self.train = training.to_network(torch.from_numpy(walks), self.form)
        self.held_out = self.features(torch.from_numpy(held_out))[0]
        self.counts = self._counts(held_out)

    def draw(self, random: torch.Generator, count: int) -> Tensor:
        """Draw reals at random, float32 [count, 2, steps], as networks see them."""
        return self.train[torch.randint(len(self.train), (count,), generator=random)]

    def judge(self, samples: Tensor) -> dict[str, float]:
        """Judge samples [n, 2, steps]: shares of routes, crossings and samples on no route; coverage, recall, ..."""
        stored = training.from_network(samples, self.form)
        features = self.features(stored)[0]
        sharp, wide = precision_recall(features, self.held_out), density_coverage(features, self.held_out)
        walks = stored.numpy()
        counts = self._counts(walks)
        return {
            "routes": float((counts > 0).mean()),
            "js": js_divergence(counts, self.counts),
            "crossings": float(paths.crossing(walks, self.how[2]).mean()),
            "no_route": 1 - float(counts.sum()) / len(walks),
            "precision": sharp.precision,
            "recall": sharp.recall,
            "density": wide.density,
            "coverage": wide.coverage,
        }

    def _counts(self, walks: np.ndarray) -> np.ndarray:
        return counted(paths.taken(walks, *self.how), len(self.how[0]))
