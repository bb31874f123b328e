"""Texts in training: from payloads to token numbers [T], and to one-hot columns float32 [V, T].

Functions without a docstring are those of `modalities.base.Training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.modalities import rows
from ragdist.modalities.base import Form
from ragdist.modalities.text import foreign
from ragdist.modalities.text.placing import place
from ragdist.modalities.text.vocabulary import row_type
from ragdist.modalities.untransformed import check_transforms, draws, transform  # noqa: F401 - of this face
from ragdist.tools import noise

head = "straight_through"
families = ("resnet1d", "mlp")
points_are = "embedded tokens"

_EMBEDDED = 32  # length of a token's embedding in the space of the relative term
_WINDOWS = (1, 2, 4)  # tokens that are averaged there


def decode(data: Tensor, form: Form) -> Tensor:
    return decode_all([memoryview(data.numpy())], form)[0]


def decode_all(payloads: Sequence[memoryview], form: Form) -> Tensor:
    if form.spec.get("payload"):
        return torch.from_numpy(np.stack([place(foreign.content(payload), form)[0] for payload in payloads]))
    numbers = rows.decode_all(payloads, row_type(len(form.spec["tokens"])), form.shape)
    low, high = numbers.aminmax()
    if low < 0 or high >= len(form.spec["tokens"]):
        raise ValueError(f"it has token {int(low if low < 0 else high)}, and there are {len(form.spec['tokens'])}")
    return numbers


def blank(count: int, form: Form) -> Tensor:
    return torch.from_numpy(np.zeros((count, *form.shape), row_type(len(form.spec["tokens"]))))


def network_shape(form: Form) -> tuple[int, ...]:
    return len(form.spec["tokens"]), *form.shape


def to_network(samples: Tensor, form: Form) -> Tensor:
    one_hot = samples.new_zeros(len(samples), *network_shape(form), dtype=torch.float32)
    return one_hot.scatter_(1, samples.long().unsqueeze(1), 1.0)


def from_network(samples: Tensor, form: Form) -> Tensor:
    return samples.argmax(1).to(torch.uint8 if row_type(len(form.spec["tokens"])) == np.uint8 else torch.int16)


def points(samples: Tensor, pool: int) -> Tensor:
    """Tokens embedded at random, averaged over windows of one, two and four of them."""
    embedded = torch.matmul(_embedding(samples.shape[1], samples.device).T, samples.float())
    return torch.cat([F.avg_pool1d(embedded, window, 1).flatten(1) / window**0.5 for window in _WINDOWS], 1)


@cache
def _embedding(tokens: int, device: torch.device) -> Tensor:
    """A random vector a token, [V, _EMBEDDED]; all about equally far from each other."""
    values = noise.normal(0, noise.PROJECTION, 0, tokens, _EMBEDDED)
    return torch.from_numpy(values).to(device) / _EMBEDDED**0.5
