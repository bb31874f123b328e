"""Adversarial losses: how D's logits become L_D and L_G.

All are functions of logits r = D(x) and f = D(G(z)), one of each a slot, and return one loss a slot:
the caller sums over its slots and divides by the global batch. All are written with softplus and
are finite for any finite logit.

One pass over D serves both players when each loss depends on a fake's own logit alone: the gradient
of L_G at a fake is then the gradient of L_D there times c = (dL_G/df) / (dL_D/df), a number a slot.
``log_ratio`` is log(-c), in closed form because the quotient itself is 0/0 where a sigmoid saturates.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

# exp(60) times the smallest useful gradient still fits float32 and bfloat16 from either side.
LARGEST_LOG_RATIO = 60.0


class Adversarial(NamedTuple):
    """The losses of one game; each takes the logits r, f [B] in float32 and returns [B]."""

    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor, Tensor], Tensor]
    log_ratio: Callable[[Tensor, Tensor], Tensor]
    g_needs_real: bool  # whether L_G depends on r


ADVERSARIAL = {
    # The method's text, D a probability: L_D = -log D(x) - log(1 - D(G(z))), L_G = -D(G(z)).
    "original": Adversarial(
        d_loss=lambda r, f: softplus(-r) + softplus(f),
        g_loss=lambda r, f: -logsigmoid(f).exp(),  # keeps its slope where a sigmoid rounds to 1
        log_ratio=lambda r, f: -softplus(f),
        g_needs_real=False,
    ),
    # Goodfellow et al. 2014: the same L_D, L_G = -log D(G(z)).
    "nonsaturating": Adversarial(
        d_loss=lambda r, f: softplus(-r) + softplus(f),
        g_loss=lambda r, f: softplus(-f),
        log_ratio=lambda r, f: -f,
        g_needs_real=False,
    ),
    # Relativistic pairs, RpGAN: Jolicoeur-Martineau 2018; with R1 and R2 the loss of R3GAN, Huang et al. 2024.
    "relativistic": Adversarial(
        d_loss=lambda r, f: softplus(f - r),
        g_loss=lambda r, f: softplus(r - f),
        log_ratio=lambda r, f: r - f,
        g_needs_real=True,
    ),
}


def gradient_ratio(game: Adversarial, r: Tensor, f: Tensor) -> Tensor:
    """c = (dL_G/df) / (dL_D/df) for each slot, [B], float32, detached. It is negative: the players disagree."""
    with torch.no_grad():
        return -game.log_ratio(r.float(), f.float()).clamp(max=LARGEST_LOG_RATIO).exp()


def g_slope(game: Adversarial, r: Tensor, f: Tensor) -> Tensor:
    """dL_G/df for each slot, [B], float32, detached."""
    with torch.enable_grad():
        f = f.detach().float().requires_grad_()
        return torch.autograd.grad(game.g_loss(r.detach().float(), f).sum(), f)[0]
