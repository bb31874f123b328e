"""Less data: a generator trained on a share of the images, judged by images that none of them has seen.

Two thirds of the samples are for training and a third, at most 5,000, is held out; 10% are a tenth of the former.
The Frechet distance, precision, recall, density and coverage are to the held-out images: distances to the training data
would reward copies. Features are those of a classifier of the whole data set.
"""

from pathlib import Path

import torch
from torch import Tensor

from ragdist.evaluation.reference_data import DataSet
from ragdist.metrics.density_coverage import density_coverage
from ragdist.metrics.frechet import frechet_distance
from ragdist.metrics.memorization import memorization_ratio
from ragdist.metrics.moments import Moments
from ragdist.metrics.neighbours import nearest
from ragdist.metrics.precision_recall import precision_recall
from ragdist.modalities.base import Form
from ragdist.modalities.classifier import classifier
from ragdist.modalities.image.training import from_network

SAMPLES, HELD_OUT = 5_000, 5_000


class Scarce:
    """A share of a data set and its judge.

    Args:
        where: shards with labels.
        share: of the training images that may be used, in (0, 1].
        cache: folder for the classifier where it cannot be kept beside them.
    """

    def __init__(self, where: str, share: float, cache: Path):
        data = DataSet(where, cache)
        images, there = data.samples(data.drawn(0))
        images = images[there]
        held_out = min(len(images) // 3, HELD_OUT)
        self.shape = data.index.shape
        self.flip = self.shape[0] == 3  # photographs may be mirrored, digits not
        train = images[held_out:]
        self.train = train[: round(share * len(train))]
        self.classifier = classifier(data, cache)
        self.held_out = self._features(images[:held_out])
        self.moments = Moments.of(self.held_out)
        self.train_features = self._features(self.train)

    def draw(self, random: torch.Generator, count: int) -> Tensor:
        """Draw reals at random, float32 [count, C, H, W] in [-1, 1]."""
        which = torch.randint(len(self.train), (count,), generator=random)
        reals = self.train[which].float() / 127.5 - 1
        if self.flip:
            mirrored = torch.rand(count, 1, 1, 1, generator=random) < 0.5
            reals = torch.where(mirrored, reals.flip(3), reals)
        return reals

    def judge(self, samples: Tensor) -> dict[str, float]:
        """Judge samples [n, C, H, W]: frechet, precision, recall, density, coverage, memorization, classes."""
        pixels = from_network(samples, Form(self.shape))
        features = self._features(pixels)
        as_many = features[: len(self.held_out)]
        sharp, wide = precision_recall(as_many, self.held_out), density_coverage(as_many, self.held_out)
        named = self.classifier.net.head(features).argmax(1)
        return {
            "frechet": frechet_distance(Moments.of(features), self.moments),
            "precision": sharp.precision,
            "recall": sharp.recall,
            "density": wide.density,
            "coverage": wide.coverage,
            "memorization": memorization_ratio(
                nearest(as_many, self.train_features), nearest(self.held_out, self.train_features)
            ),
            "classes": len(named.unique()),
        }

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return torch.cat([self.classifier(part)[0] for part in images.split(2048)])
