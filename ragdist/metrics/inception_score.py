"""The Inception score (Salimans et al. 2016): one class a sample, and all classes over the samples."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

SPLITS = 10


class InceptionScore(NamedTuple):
    """The Inception score and how it varies."""

    value: float
    deviation: float  # standard deviation over the splits


def inception_score(logits: Tensor, splits: int = SPLITS) -> InceptionScore:
    """exp of the mean KL(p(y|x) || p(y)), the mean over contiguous splits of the samples.

    From 1 to the number of classes; more is better. It never sees the data: a generator that copies one
    image of each of ImageNet's classes is perfect.

    Args:
        logits: [n, classes], n at least the number of splits, in an order that has nothing to do with their
            content (the field leaves out the last layer's bias).
    """
    logs = logits.double().log_softmax(1)
    bounds = [i * len(logs) // splits for i in range(splits + 1)]
    scores = []
    for start, stop in pairwise(bounds):
        part = logs[start:stop]
        marginal = part.exp().mean(0).log()
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    scores = torch.stack(scores)
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)))
