"""What every modality offers: its codec, and what a source hands over for a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

from typing import Any, Protocol, TypeAlias

import numpy as np


class Codec(Protocol):
    """The codec of a modality: what training and writing shards need to know of its samples."""

    payload: tuple[str, ...]  # the extensions of its members in a shard
    spec: frozenset[str]  # keys that an index's spec may have for it
    draws: int  # uniform numbers that augmentation takes for a slot

    def decode(self, data: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Decode a payload, uint8 [n], to a sample, uint8 ``shape``. Raises ValueError where it is none."""

    def decode_all(self, payloads: list[memoryview], shape: tuple[int, ...]) -> Tensor:
        """Decode several payloads to uint8 [n, *shape]. Raises ValueError where any is not a sample."""

    def shape(self, data: Tensor) -> tuple[int, ...]:
        """Read a sample's shape from its payload's header. Raises ValueError where it has none."""

    def augment(self, samples: Tensor, uniform: np.ndarray, crop_padding: int, flip: bool) -> Tensor:
        """Transform uint8 samples [b, *shape] at random: sample i by ``uniform`` [i, draws] in [0, 1)."""

    def normalize(self, samples: Tensor) -> Tensor:
        """Scale uint8 samples to float32 in [-1, 1], on their device."""


# An image as a source has it: an encoded file's bytes, or a decoded picture (PIL.Image.Image).
Picture: TypeAlias = bytes | Any
