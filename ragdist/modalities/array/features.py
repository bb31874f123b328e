"""Features of arrays: their numbers as networks see them."""

import hashlib
import json

import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.metrics.extractor import Extractor, Features
from ragdist.modalities.array.training import to_network
from ragdist.modalities.base import Form

MOST = 256  # numbers of a sample, which some hundred samples determine


class Numbers(Extractor):
    """A sample's numbers, shifted and scaled; of sequences with more than 256 averages over steps, of long vectors
    averages of neighbours.
    """

    name = "numbers"

    def __init__(self, form: Form):
        self.form = form
        *channels, steps = form.shape
        self.channels = channels[0] if channels else 1
        self.steps = min(steps, max(MOST // self.channels, 1))
        self.dim = self.channels * self.steps
        self.resizing = "none" if self.steps == steps else f"averaged to {self.steps:,} steps"
        scaled = json.dumps([form.spec["shift"], form.spec["scale"]])
        self.sha256 = hashlib.sha256(f"numbers 1: {form.shape} to {self.steps}, {scaled}".encode()).hexdigest()
        self.about = {}

    def __call__(self, samples: Tensor) -> tuple[Tensor, None]:
        numbers = to_network(samples, self.form).view(len(samples), self.channels, -1)
        if numbers.shape[2] != self.steps:
            numbers = F.adaptive_avg_pool1d(numbers, self.steps)
        return torch.nan_to_num(numbers.flatten(1)), None


NUMBERS = Features(lambda source: Numbers(source.data.index.form))
