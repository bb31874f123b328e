"""A batch on the device, and the parts in which it is computed."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """A batch on the device: a worker's slots of one global batch, or a part of them."""

    z: Tensor  # latents, float32 [b, z_dim]
    real: Tensor  # reals, float32 [b, *sample_shape]
    labels: Tensor | None  # int64 [b]: the label of slot i's real and of slot i's fake
    shares: Tensor | None = None  # float32 [b] in [0, 1): where between slot i's fake and real a penalty is taken
    augment: Tensor | None = None  # float32 [b, 2, width]: what transforms slot i's real and fake in front of D

    def split(self, size: int) -> list["Batch"]:
        """Parts of ``size`` slots, the last perhaps smaller."""
        count = -(-len(self.z) // size)
        parts = ([None] * count if part is None else part.split(size) for part in self)
        return [Batch(*each) for each in zip(*parts, strict=True)]
