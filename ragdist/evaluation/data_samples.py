"""Samples to evaluate that are a data set: other people's, or a part of the data that was put aside."""

from collections.abc import Iterator
from typing import Any

import torch

from ragdist.evaluation.reference_data import Batch, DataSet
from ragdist.tools.errors import UserError


class DataSamples:
    """The samples of a data set, in a random order that the data alone decide.

    Args:
        data: to be judged.
        classes: of the data that they are compared with: where both have the same, labels are those asked for.
    """

    seen = None

    def __init__(self, data: DataSet, classes: tuple[str, ...]):
        self.data = data
        self.labelled = bool(classes) and data.index.classes == classes
        self.about: dict[str, Any] = {"kind": "data", "path": data.where, "digest": data.index.digest}

    def available(self, wanted: int) -> int:
        """The number of samples there are, at most ``wanted``."""
        return min(wanted, len(self.data))

    def batches(self, numbers: range, batch: int) -> Iterator[Batch]:
        """Batches of the samples with these numbers.

        Raises:
            UserError: one of them cannot be read.
        """
        order = self.data.drawn(0)
        for first in range(numbers.start, numbers.stop, batch):
            places = range(first, min(first + batch, numbers.stop))
            chosen = order[places.start : places.stop]
            samples, there = self.data.samples(chosen)
            if not there.all():
                raise UserError(
                    f"samples of {self.data.where} cannot be read: `python -m ragdist.shards check {self.data.where}` "
                    "says which"
                )
            labels = self.data.labels[chosen] if self.labelled else torch.full((len(places),), -1)
            yield Batch(torch.tensor(list(places)), samples, labels)
