"""Clips in training: from payloads to int16 [channels, T], and to float32 from -1 to 1.

Functions without a docstring are those of `modalities.base.Training`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ragdist.modalities.audio import decoding
from ragdist.modalities.augmentations import OF_SOUNDS, Augmentations
from ragdist.modalities.base import Form
from ragdist.modalities.untransformed import check_transforms, draws, transform  # noqa: F401 - of this face
from ragdist.networks import stft

head = "tanh"
families = ("spectral", "wavegan", "mlp")
augmentations = Augmentations(OF_SOUNDS, {"diffaugment": "gain,shift,mute"})
points_are = "log-mel spectra"

_FULL = 32768.0


def decode(data: Tensor, form: Form) -> Tensor:
    return torch.from_numpy(decoding.decode([memoryview(data.numpy())], form)[0])


def decode_all(payloads: list[memoryview], form: Form) -> Tensor:
    return torch.from_numpy(decoding.decode(payloads, form))


def blank(count: int, form: Form) -> Tensor:
    return torch.zeros(count, *form.shape, dtype=torch.int16)


def network_shape(form: Form) -> tuple[int, ...]:
    return form.shape


def to_network(samples: Tensor, form: Form) -> Tensor:
    return samples.float().div_(_FULL)


def from_network(samples: Tensor, form: Form) -> Tensor:
    return samples.detach().float().mul(_FULL).round().clamp(-_FULL, _FULL - 1).short()


def points(samples: Tensor, pool: int) -> Tensor:
    return stft.points(samples, pool)
