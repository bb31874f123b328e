"""The interface of feature extractors: from samples to vectors that measures compare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Extractor:
    """A feature extractor. Figures of two kinds of features, or of two hashes, are never compared.

    Attributes:
        name: of its row in `metrics.FEATURES`.
        sha256: identifies the weights, or the formula where there are none.
        dim: length of a vector.
        resizing: what happens to a sample first, in words.
        about: further facts for the protocol.
        content: what other workers make an equal one from (`Features.restore`); None: they make their own.
    """

    name: str
    sha256: str
    dim: int
    resizing: str
    about: dict
    content: bytes | None = None

    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map stored samples [n, *shape] to features [n, dim] float32, and logits [n, K] where there are classes."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """The name and the first digits of the hash."""
        return f"{self.name} {self.sha256[:8]}"


@dataclass(frozen=True)
class FeatureSource:
    """The source of an extractor: data to train it on, a cache, a device, a file of weights."""

    data: Any  # the reference data, `evaluation.reference_data.DataSet`
    cache: Path  # folder for what is made once
    device: torch.device
    weights: str  # file of a network's weights, of which only some features know; empty: none is given
    begin: Callable[[int], Callable[[int], None]]  # shows progress: (samples in all) -> (samples since) -> None

    @property
    def shape(self) -> tuple[int, ...]:
        """The stored shape of the samples."""
        return self.data.index.shape

    @property
    def spec(self) -> Mapping[str, Any]:
        """The specification of the samples in the index; empty: none."""
        return self.data.index.spec


@dataclass(frozen=True)
class Features:
    """A kind of features: a row of `metrics.FEATURES`.

    Args:
        make: makes the extractor; raises UserError where it cannot be had.
        restore: (content, device) -> an extractor equal to one that has this ``content``, on another worker.
    """

    make: Callable[[FeatureSource], Extractor]
    restore: Callable[[bytes, torch.device], Extractor] | None = None
