"""Stacked digits: three random digits as the colour channels of one image, 1,000 modes.

Protocol of Stacked MNIST (Metz et al. 2017, Srivastava et al. 2017, Lin et al. 2018): 26,000 samples, channels named
by a classifier of single digits; the modes with a sample, and the divergence of the modes' shares from the data's. Any
shards of grey digits with ten labels will do. Triples are drawn anew for each update instead of 128,000 of them once.
"""

from pathlib import Path

import torch
from torch import Tensor

from ragdist.evaluation.reference_data import DataSet
from ragdist.metrics import classes
from ragdist.modalities.classifier import classifier
from ragdist.tools.errors import UserError

SAMPLES = 26_000


class Stacked:
    """The data and their judge.

    Args:
        where: shards of grey images with ten classes.
        cache: folder for the classifier where it cannot be kept beside them.

    Raises:
        UserError: they are of another kind.
    """

    def __init__(self, where: str, cache: Path):
        data = DataSet(where, cache)
        if data.index.shape[0] != 1 or len(data.index.classes) != 10:
            raise UserError(
                f"--data {where}: stacked digits need grey images with ten classes, and these have "
                f"{data.index.shape[0]} channels and {len(data.index.classes)} classes"
            )
        numbers = data.drawn(0)
        images, there = data.samples(numbers)
        self.images = images[there, 0]
        self.shape = (3, *data.index.shape[1:])
        self.classifier = classifier(data, cache)
        shares = classes.class_counts(data.labels[numbers][there], 10).double()
        shares = shares / shares.sum()
        self.shares = torch.einsum("a,b,c->abc", shares, shares, shares).flatten()

    @property
    def accuracy(self) -> float:
        """The classifier's accuracy on digits that it was not trained on."""
        return self.classifier.about["accuracy"]

    def draw(self, random: torch.Generator, count: int) -> Tensor:
        """Draw reals at random, float32 [count, 3, H, W] in [-1, 1]."""
        which = torch.randint(len(self.images), (count, 3), generator=random)
        return self.images[which].float() / 127.5 - 1

    @torch.no_grad()
    def judge(self, samples: Tensor) -> dict[str, float]:
        """Judge samples [n, 3, H, W] in [-1, 1]: modes and kl."""
        pixels = ((samples + 1) * 127.5).round().clamp(0, 255).byte().flatten(0, 1).unsqueeze(1)
        digit = torch.cat([self.classifier(part)[1].argmax(1) for part in pixels.split(4096)]).view(-1, 3)
        counts = classes.class_counts(digit @ torch.tensor([100, 10, 1]), 1000)
        return {"modes": classes.modes_covered(counts), "kl": classes.kl_to_data(counts, self.shares)}
