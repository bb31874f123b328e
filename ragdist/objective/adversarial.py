"""Adversarial losses: from D's logits to L_D and L_G.

All are functions of logits r = D(x) and f = D(G(z)), one of each a slot, and return one loss a slot:
the caller sums over its slots and divides by the global batch. All are written with softplus and
are finite for any finite logit.

One pass over D serves both players when each loss depends on a fake's own logit alone: the gradient
of L_G at a fake is then the gradient of L_D there times c = (dL_G/df) / (dL_D/df), a number a slot.
Where D is sure of itself dL_D/df goes to zero and c to infinity, so one pass lifts D's slope at the
fakes to at least LEAST_SLOPE: too little for D's gradient to show in float32, and enough for G's.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

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


def slopes(adversarial: Adversarial, r: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """dL_D/df and dL_G/df for each slot, [B] each, float32, detached. The first is positive, the second negative."""
    with torch.enable_grad():
        r, f = r.detach().float(), f.detach().float().requires_grad_()
        (d,) = torch.autograd.grad(adversarial.d_loss(r, f).sum(), f)
        (g,) = torch.autograd.grad(adversarial.g_loss(r, f).sum(), f)
    return d, g


def one_pass_factors(adversarial: Adversarial, r: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the one-pass update: what lifts D's slope at each fake to LEAST_SLOPE, and the ratio c: [B] each."""
    d, g = slopes(adversarial, r, f)
    lift = (LEAST_SLOPE - d).clamp(min=0)
    return lift, g / (d + lift)
