"""A batch on the device, and the parts in which it is computed."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """A batch on the device: a worker's slots of one global batch, or a part of them."""

    z: Tensor  # latents, float32 [b, z_dim]
    real: Tensor  # reals, float32 [b, *sample_shape]
    labels: Tensor | None  # int64 [b]: the label of slot i's real and of slot i's fake

    def split(self, size: int) -> list["Batch"]:
        """Parts of ``size`` slots, the last perhaps smaller."""
        labels = self.labels.split(size) if self.labels is not None else [None] * -(-len(self.z) // size)
        return [Batch(*parts) for parts in zip(self.z.split(size), self.real.split(size), labels, strict=True)]
