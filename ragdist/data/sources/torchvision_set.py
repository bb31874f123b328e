"""``torchvision:NAME``: a data set that torchvision knows how to download."""

import inspect
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.labels import numbered
from ragdist.data.sources import arrays
from ragdist.data.sources.source import Numbered, Source
from ragdist.modalities.image import making
from ragdist.tools.errors import UserError, nearest


class SetReader:
    """Reads pictures by their number from a data set that each process opens for itself."""

    def __init__(self, name: str, arguments: dict[str, Any]):
        self.name, self.arguments, self._set = name, arguments, None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.arguments)

    def __call__(self, place: int):
        if self._set is None:
            from torchvision import datasets

            self._set = getattr(datasets, self.name)(**self.arguments)
        picture = self._set[place][0]
        file = getattr(picture, "filename", "")
        if file and os.path.isfile(file):  # opened and not decoded yet: its bytes can be kept
            picture.close()
            return Path(file).read_bytes()
        return picture


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """A data set of torchvision.datasets, downloaded into ``--root`` if it is not there."""
    where = f"torchvision:{name}"
    name, kind = _find(name)
    root = Path(options.root or "~/.cache/ragdist/torchvision").expanduser()
    known = inspect.signature(kind).parameters
    arguments = {"root": str(root)} if "root" in known else {}
    arguments |= _split_argument(where, known, options.split)
    download = {"download": True} if "download" in known else {}
    try:
        root.mkdir(parents=True, exist_ok=True)
        data = kind(**arguments, **download)
        first = data[0]
    except Exception as error:  # each set fails in its own way: a server that is gone, a missing package, an argument
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{where} can be neither opened in {root} nor downloaded ({why}); see --root, --split"
        ) from error
    from PIL import Image

    if not (isinstance(first, tuple) and len(first) > 1 and isinstance(first[0], Image.Image)):
        raise UserError(f"{where} is not a set of single images with a label each")
    labels, classes = numbered(
        where, _labels(data, first), list(getattr(data, "classes", getattr(data, "categories", ())))
    )
    identity = f"{where} {arguments} {len(data)}"
    if (images := _plain(data, first[0])) is not None:
        file = scratch / "images.npy"  # mapped by the writing processes, which then need no PyTorch
        np.save(file, images)
        return arrays.of_array(
            where, images, file, identity, np.array(labels) if labels else None, classes, modality="image"
        )
    reader = SetReader(name, arguments)
    return Source(Numbered(len(data)), range(len(data)), reader, "image", identity, labels, classes if labels else ())


def _find(name: str) -> tuple[str, type]:
    from torchvision import datasets

    known = {known.lower(): known for known in datasets.__all__}
    if name.lower() not in known:
        raise UserError(f"torchvision has no data set '{name}'{nearest(name, known.values())}")
    name = known[name.lower()]
    return name, getattr(datasets, name)


def _split_argument(where: str, known: Container[str], split: str) -> dict[str, Any]:
    """The data set's argument that chooses a part: ``split``, ``image_set`` or ``train``."""
    if not split:
        return {}
    for argument in ("split", "image_set"):
        if argument in known:
            return {argument: split}
    if "train" not in known:
        raise UserError(f"--split {split}: {where} has no splits; leave it out")
    if split not in ("train", "test"):
        raise UserError(f"--split {split}: {where} has 'train' and 'test'")
    return {"train": split == "train"}


def _labels(data: Any, first: tuple) -> list[int]:
    """The class numbers, without opening images where the set has a list of them; empty: none."""
    if not isinstance(first[1], (int, np.integer)):
        return []  # attributes, boxes, masks
    for name in ("targets", "labels", "_labels"):
        values = getattr(data, name, None)
        if values is not None and np.ndim(values) == 1 and len(values) == len(data):
            found = np.asarray(values).tolist()
            break
    else:
        found = [int(data[i][1]) for i in range(len(data))]
    return [] if set(found) == {-1} else found  # -1: a part without labels


def _plain(data: Any, first) -> np.ndarray | None:
    """The array in which the set keeps its images, where it does and they are what it returns."""
    images = getattr(data, "data", None)
    images = images if isinstance(images, np.ndarray) else getattr(images, "numpy", lambda: None)()
    if images is None or len(images) != len(data):
        return None
    if making.check_array(images.shape, images.dtype):
        return None
    return images if np.array_equal(np.asarray(making.from_array(images[0])), np.asarray(first)) else None
