"""What the reader does to images before D sees them: a shift that mirrors at the edges, and a flip."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist.modalities.image.training import augment


def shifted(image: np.ndarray, uniform: np.ndarray, padding: int, flip: bool) -> np.ndarray:
    """One image [channels, height, width], by NumPy's own mirroring."""
    _, height, width = image.shape
    top, left = ((uniform[:2] * (2 * padding + 1)).astype(int)).tolist()
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
    cut = padded[:, top : top + height, left : left + width]
    return cut[:, :, ::-1] if flip and uniform[2] < 0.5 else cut


@given(st.integers(1, 5), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_shift_and_flip(count, padding, flip, seed):
    chance = np.random.default_rng(seed)
    images = chance.integers(0, 256, (count, 3, 5, 6), dtype=np.uint8)
    uniform = chance.random((count, 3), dtype=np.float32)
    found = augment(torch.from_numpy(images), uniform, padding, flip).numpy()
    wanted = [shifted(image, each, padding, flip) for image, each in zip(images, uniform, strict=True)]
    assert np.array_equal(found, np.stack(wanted))
