"""Gradient penalties on D.

R1 (Mescheder et al. 2018) is taken at the reals and R2 at the fakes; R3GAN (Huang et al. 2024) uses
both. Each is weight / 2 * E |grad_x D(x)|^2. The penalty of WGAN-GP (Gulrajani et al. 2017) is taken between
them: weight * E (|grad_x D(x)| - 1)^2.
"""

import torch
from torch import Tensor

_TINY = 1e-12  # under a root, whose derivative at 0 is infinite


def input_gradients(logits: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """grad_x D(x) at each of the inputs, differentiable in D's weights.

    ``logits`` [N] are D's for all the inputs together; no logit may depend on another's input.
    """
    return list(torch.autograd.grad(logits.sum(), inputs, create_graph=True))


def squared_norm(gradient: Tensor) -> Tensor:
    """|grad|^2 of each sample, [B], in float32."""
    return gradient.float().square().flatten(1).sum(1)


def interpolates(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Points between the i-th real and the i-th fake [B, ...], at ``share`` [B] of the real: a leaf with a gradient."""
    real, fake, share = real.detach(), fake.detach(), share.reshape(-1, *[1] * (real.dim() - 1))
    return (fake + share * (real - fake)).requires_grad_()


def distance_to_slope_one(gradient: Tensor) -> Tensor:
    """(|grad| - 1)^2 of each sample, [B], in float32; finite, with its derivatives, where the gradient is 0."""
    return ((squared_norm(gradient) + _TINY).sqrt() - 1).square()
