"""Less data: a generator trained on a share of the images, or clips, judged by those that none of them has seen.

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
from ragdist.modalities.classifier import classifier

SAMPLES, HELD_OUT = 5_000, 5_000


class Scarce:
    """A share of a data set and its judge.

    Args:
        where: shards with labels.
        share: of the training samples that may be used, in (0, 1].
        cache: folder for the classifier where it cannot be kept beside them.
    """

    def __init__(self, where: str, share: float, cache: Path):
        data = DataSet(where, cache)
        numbers = data.drawn(0)
        samples, there = data.samples(numbers)
        samples, labels = samples[there], data.labels[numbers][there]
        held_out = min(len(samples) // 3, HELD_OUT)
        self.modality, self.form = data.reader.modality, data.index.form
        self.shape, self.points = self.modality.network_shape(self.form), self.modality.points
        self.classes = len(data.index.classes)
        self.flip = len(self.shape) == 3 and self.shape[0] == 3  # photographs may be mirrored, digits not
        count = round(share * (len(samples) - held_out))
        self.train, self.labels = samples[held_out:][:count], labels[held_out:][:count]
        self.classifier = classifier(data, cache)
        self.held_out = self._features(samples[:held_out])
        self.moments = Moments.of(self.held_out)
        self.train_features = self._features(self.train)

    def draw(self, random: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw reals at random, float32 [count, *shape] in [-1, 1], and their labels."""
        which = torch.randint(len(self.train), (count,), generator=random)
        reals = self.modality.to_network(self.train[which], self.form)
        if self.flip:
            mirrored = torch.rand(count, 1, 1, 1, generator=random) < 0.5
            reals = torch.where(mirrored, reals.flip(3), reals)
        return reals, self.labels[which]

    def judge(self, samples: Tensor) -> dict[str, float]:
        """Judge samples [n, *shape]: frechet, precision, recall, density, coverage, memorization, classes."""
        features = self._features(self.modality.from_network(samples, self.form))
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
    def _features(self, samples: Tensor) -> Tensor:
        return torch.cat([self.classifier(part)[0] for part in samples.split(2048)])
