"""Output heads: functions from what G's last layer gives, float32 [B, *sample_shape], to samples of that shape."""

import torch
from torch import Tensor


def tanh(x: Tensor) -> Tensor:
    """Samples in [-1, 1]."""
    return torch.tanh(x)


def identity(x: Tensor) -> Tensor:
    """Samples of any size."""
    return x


DISTRIBUTIONS = frozenset(("softmax", "straight_through"))  # heads whose samples are distributions over the channels

_SHARP = 4.0  # logits count so many times: a new G's places are sure of a channel, as the data's are


def softmax(x: Tensor) -> Tensor:
    """Distributions over the channels [B, V, ...], one a place."""
    return torch.softmax(_SHARP * x, 1)


def straight_through(x: Tensor) -> Tensor:
    """The likeliest channel of each place as a one-hot column, with the gradient of `softmax` (Bengio et al. 2013)."""
    soft = softmax(x)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())
