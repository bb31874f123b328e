"""Gradient penalties on D.

R1 (Mescheder et al. 2018) is taken at the reals and R2 at the fakes; R3GAN (Huang et al. 2024) uses
both. Each is weight / 2 * E |grad_x D(x)|^2.
"""

import torch
from torch import Tensor


def input_gradients(logits: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """grad_x D(x) at each of the inputs, differentiable in D's weights.

    ``logits`` [N] are D's for all the inputs together; no logit may depend on another's input.
    """
    return list(torch.autograd.grad(logits.sum(), inputs, create_graph=True))


def squared_norm(gradient: Tensor) -> Tensor:
    """|grad|^2 of each sample, [B], in float32."""
    return gradient.float().square().flatten(1).sum(1)
