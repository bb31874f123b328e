"""MosaicML Streaming, as its documentation reads pictures: its vision data set, shuffled, in its own DataLoader.

The shards hold the same JPEGs in its ``jpeg`` encoding. Resuming is its own: a state of the loader, loaded.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from streaming import MDSWriter, StreamingDataLoader
from streaming.vision.base import StreamingVisionDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor

from benchmarks.readers import BATCH, Data

STATE = "at-90-percent.json"


class Reader:
    def __init__(self, data: Data, _kind: str):
        self.folder = data.mds

    def _dataset(self) -> StreamingVisionDataset:
        return StreamingVisionDataset(local=self.folder, shuffle=True, batch_size=BATCH, transform=PILToTensor())

    def samples(self) -> Iterator[object]:
        return (image for image, _ in self._dataset())

    def batches(self, workers: int = 0, start: int = 0) -> Iterator[object]:
        loader = StreamingDataLoader(self._dataset(), batch_size=BATCH, num_workers=workers)
        if start:
            state = json.loads((Path(self.folder) / STATE).read_text())
            assert state["sample_in_epoch"] == start
            loader.load_state_dict(state)
        return (images for images, _ in loader)


def write(data: Data, start: int) -> None:
    """Make the shards of the image files, and the state that a run saves at sample ``start`` of its first epoch."""
    with MDSWriter(out=data.mds, columns={"x": "jpeg", "y": "int"}) as out:
        for image, label in ImageFolder(data.images, loader=_lazy):
            out.write({"x": image, "y": label})  # the bytes of the image's file
    dataset = Reader(data, "")._dataset()
    next(iter(dataset))
    (Path(data.mds) / STATE).write_text(json.dumps(dataset.state_dict(start, from_beginning=True)))


def _lazy(path: str):
    from PIL import Image

    return Image.open(path)
