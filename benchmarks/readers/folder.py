"""torchvision's ImageFolder and PyTorch's DataLoader, as their documentation shows.

A DataLoader has no way to start in mid-epoch: it is given the rest of the epoch's permutation as its sampler.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor

from benchmarks.readers import BATCH, SEED, Data


class Reader:
    def __init__(self, data: Data, _kind: str):
        self.folder = data.images

    @cached_property
    def _dataset(self) -> ImageFolder:
        return ImageFolder(self.folder, transform=PILToTensor())

    def samples(self) -> Iterator[object]:
        return (self._dataset[number][0] for number in self._order())

    def batches(self, workers: int = 0, start: int = 0) -> Iterator[object]:
        loader = DataLoader(self._dataset, BATCH, sampler=self._order()[start:], num_workers=workers)
        return (images for images, _ in loader)

    def _order(self) -> list[int]:
        return torch.randperm(len(self._dataset), generator=torch.Generator().manual_seed(SEED)).tolist()
