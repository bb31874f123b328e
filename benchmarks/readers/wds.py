"""webdataset, as its documentation reads images for training.

Shards and samples are shuffled, ``decode("pil")``, a transform, batches in the pipeline, a DataLoader of whole
batches around it. The transform makes uint8 tensors of the pictures. It has no way to start in mid-epoch; the cheapest
is taken: the samples before are read and shuffled, but not decoded.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import webdataset
from torch.utils.data import DataLoader
from torchvision.transforms import PILToTensor

from benchmarks.readers import BATCH, SEED, Data


def keep(label: object) -> object:
    return label


class Reader:
    def __init__(self, data: Data, _kind: str):
        self.urls = sorted(map(str, Path(data.shards).glob("*.tar")))

    def _pipeline(self, start: int = 0):
        random.seed(SEED)
        shuffled = webdataset.WebDataset(self.urls, shardshuffle=100, seed=SEED).shuffle(1000)
        return (shuffled.slice(start, None) if start else shuffled).decode("pil").to_tuple("jpg;jpeg", "cls")

    def samples(self) -> Iterator[object]:
        """Pillow's images, decoded."""
        return (image for image, _ in self._pipeline())

    def batches(self, workers: int = 0, start: int = 0) -> Iterator[object]:
        batched = self._pipeline(start).map_tuple(PILToTensor(), keep).batched(BATCH)
        return (images for images, _ in DataLoader(batched, batch_size=None, num_workers=workers))
