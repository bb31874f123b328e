"""Adversarial losses: from D's logits to L_D and L_G.

All are functions of logits r = D(x) and f = D(G(z)), one of each a slot, and return one loss a slot:
the caller sums over its slots and divides by the global batch. All are finite for any finite logit.

One pass over D serves both players when each loss depends on a slot's own logits alone: the gradient
of L_G at a fake is then the gradient of L_D there times c = (dL_G/df) / (dL_D/df), a number a slot.
Where dL_D/df goes to zero, as where D is sure of itself, beyond the margin of `hinge`, or at the target
of `least_squares`, c goes to infinity. So one pass lifts a slope that is nearer to zero than LEAST_SLOPE to
that: too little for D's gradient to show in float32, and enough for G's. c is that of the lifted slope, so
that G's gradient is exact; nothing is clamped.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

LEAST_SLOPE = 1e-12


class Adversarial(NamedTuple):
    """An adversarial loss: L_D and L_G from the logits r, f [B] in float32, [B] each."""

    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor, Tensor], Tensor]
    g_needs_real: bool  # whether L_G depends on r


# The method's text, D a probability: L_D = -log D(x) - log(1 - D(G(z))), L_G = -D(G(z)).
ORIGINAL = Adversarial(
    d_loss=lambda r, f: softplus(-r) + softplus(f),
    g_loss=lambda r, f: -logsigmoid(f).exp(),  # keeps its slope where a sigmoid rounds to 1
    g_needs_real=False,
)
# Goodfellow et al. 2014: the same L_D, L_G = -log D(G(z)).
NONSATURATING = Adversarial(
    d_loss=lambda r, f: softplus(-r) + softplus(f),
    g_loss=lambda r, f: softplus(-f),
    g_needs_real=False,
)
# Relativistic pairs, RpGAN: Jolicoeur-Martineau 2018; with R1 and R2 the loss of R3GAN, Huang et al. 2024.
RELATIVISTIC = Adversarial(
    d_loss=lambda r, f: softplus(f - r),
    g_loss=lambda r, f: softplus(r - f),
    g_needs_real=True,
)
# Lim & Ye 2017, Tran et al. 2017; as in SAGAN and BigGAN.
HINGE = Adversarial(
    d_loss=lambda r, f: relu(1 - r) + relu(1 + f),
    g_loss=lambda r, f: -f,
    g_needs_real=False,
)
# LSGAN, Mao et al. 2017: targets 1 for reals and for G, 0 for fakes.
LEAST_SQUARES = Adversarial(
    d_loss=lambda r, f: ((r - 1).square() + f.square()) / 2,
    g_loss=lambda r, f: (f - 1).square() / 2,
    g_needs_real=False,
)
# Arjovsky et al. 2017; the distance of Wasserstein only as far as a penalty keeps D's slope near 1: WGAN-GP.
WASSERSTEIN = Adversarial(
    d_loss=lambda r, f: f - r,
    g_loss=lambda r, f: -f,
    g_needs_real=False,
)


def slopes(adversarial: Adversarial, r: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """dL_D/df and dL_G/df for each slot, [B] each, float32, detached."""
    with torch.enable_grad():
        r, f = r.detach().float(), f.detach().float().requires_grad_()
        (d,) = torch.autograd.grad(adversarial.d_loss(r, f).sum(), f)
        (g,) = torch.autograd.grad(adversarial.g_loss(r, f).sum(), f)
    return d, g


def one_pass_factors(adversarial: Adversarial, r: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the one-pass update: what lifts D's slope at each fake off zero, and the ratio c: [B] each."""
    d, g = slopes(adversarial, r, f)
    lift = torch.where(d.abs() < LEAST_SLOPE, LEAST_SLOPE - d, 0)
    return lift, g / (d + lift)
