"""A batch on the device, and the micro-batches in which it is computed."""

from typing import NamedTuple

import torch
from torch import Tensor

_ON_A_CPU = 64  # slots of a micro-batch


class Batch(NamedTuple):
    """A batch on the device: a worker's slots of one global batch, or a micro-batch of them."""

    z: Tensor  # latents, float32 [b, z_dim]
    real: Tensor  # reals, float32 [b, *sample_shape]
    labels: Tensor | None  # int64 [b]: the label of slot i's real and of slot i's fake

    def split(self, size: int) -> list["Batch"]:
        """Micro-batches of ``size`` slots, the last perhaps smaller."""
        labels = self.labels.split(size) if self.labels is not None else [None] * -(-len(self.z) // size)
        return [Batch(*parts) for parts in zip(self.z.split(size), self.real.split(size), labels, strict=True)]


def at_a_time(slots: int, group: int, device: torch.device) -> int:
    """The default size of micro-batches, where no other worker waits for the gradients.

    On a CPU 64, or the one pairing group that is larger: no more FLOPs in a part of the whole batch's memory
    (docs/performance.md). Several workers reduce gradients while the last micro-batch's backward goes on, which is to
    be long.
    """
    return min(slots, max(_ON_A_CPU // group, 1) * group) if device.type == "cpu" else slots
