"""1,797 handwritten digits of 8x8 pixels, 0 to 16 (Alpaydin & Kaynak 1998), which come with scikit-learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.arrays import of_array
from ragdist.data.sources.source import Numbered, Source


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The source of all digits, grey images, with labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    np.save(scratch / "digits.npy", images)
    source = of_array(
        name, images, scratch / "digits.npy", "digits", data.target, [str(d) for d in range(10)], modality="image"
    )
    return replace(source, names=Numbered(len(images), "digit"))
