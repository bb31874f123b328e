"""Arrays in training: from payloads to float32 [C, T] or [D], each channel shifted and scaled for the networks.

Functions without a docstring are those of `modalities.base.Training`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ragdist.modalities import rows
from ragdist.modalities.array import foreign, making
from ragdist.modalities.augmentations import OF_ANY, Augmentations
from ragdist.modalities.base import Form
from ragdist.modalities.untransformed import check_transforms, draws, transform  # noqa: F401 - of this face
from ragdist.objective.relative import flatten

head = "identity"
families = ("resnet1d", "mlp")
augmentations = Augmentations(OF_ANY)
points_are = "numbers"


def decode(data: Tensor, form: Form) -> Tensor:
    return decode_all([memoryview(data.numpy())], form)[0]


def decode_all(payloads: list[memoryview], form: Form) -> Tensor:
    if not form.spec.get("payload"):
        return rows.decode_all(payloads, making.NUMBERS, form.shape)
    found = [foreign.content(payload) for payload in payloads]
    if odd := next((array.shape for array in found if array.shape != form.shape), None):
        raise ValueError(f"it has the shape {list(odd)}, not {list(form.shape)}")
    return torch.from_numpy(np.stack([foreign.finite(array) for array in found]))


def blank(count: int, form: Form) -> Tensor:
    return torch.zeros(count, *form.shape)


def network_shape(form: Form) -> tuple[int, ...]:
    return form.shape


def to_network(samples: Tensor, form: Form) -> Tensor:
    shift, scale = _channels(samples, form)
    return (samples.float() - shift) / scale


def from_network(samples: Tensor, form: Form) -> Tensor:
    shift, scale = _channels(samples, form)
    return samples.detach().float() * scale + shift


def _channels(samples: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """Shift and scale of each channel, to be broadcast over samples [b, C, ...]."""
    shape = (1, -1, *(1 for _ in form.shape[1:]))
    return tuple(samples.new_tensor(form.spec[key], dtype=torch.float32).view(shape) for key in ("shift", "scale"))


def points(samples: Tensor, pool: int) -> Tensor:
    return flatten(samples, pool)
