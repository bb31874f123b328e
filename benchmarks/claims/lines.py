"""Texts: a generator of characters, judged by n-grams, words and a small language model.

3,000 of the texts are held out; the others are for training.
"""

from pathlib import Path

import torch
from torch import Tensor

from ragdist.evaluation.reference_data import DataSet
from ragdist.modalities.text import strings
from ragdist.modalities.text.scores import TrainingTexts

SAMPLES, HELD_OUT = 3_000, 3_000


class Lines:
    """A data set of texts and its judge.

    Args:
        where: shards.
        cache: folder for shards that are fetched.
    """

    classes = 0

    def __init__(self, where: str, cache: Path):
        data = DataSet(where, cache)
        samples, there = data.samples(data.drawn(0))
        samples = samples[there]
        held_out = min(len(samples) // 3, HELD_OUT)
        self.modality, self.form = data.reader.modality, data.index.form
        self.shape, self.points, self.head = (
            self.modality.network_shape(self.form),
            self.modality.points,
            self.modality.head,
        )
        self.train = samples[held_out:]
        self.held_out = strings.scored(samples[:held_out], self.form)
        self.scored = TrainingTexts(strings.scored(self.train, self.form))

    def draw(self, random: torch.Generator, count: int) -> Tensor:
        """Draw reals at random, float32 [count, V, T]."""
        return self.modality.to_network(
            self.train[torch.randint(len(self.train), (count,), generator=random)], self.form
        )

    def judge(self, samples: Tensor) -> dict[str, float]:
        """Judge samples [n, V, T] by the figures in `text.scores.SCORES`."""
        texts = strings.scored(self.modality.from_network(samples, self.form), self.form)
        return self.scored.scores(texts, self.held_out)
