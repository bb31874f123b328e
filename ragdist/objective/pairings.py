"""Pairings: which fakes and reals of a pairing group are compared, and which fakes with which other fakes.

A pairing takes the distances between reals and fakes, and between fakes (None unless relative), both [G, m, m], and
the masks of pairs that may be partners, with the diagonal and without; it returns the two parts of the relative term,
one number a slot, [G, m] or fewer.
"""

import numpy as np
import torch
from torch import Tensor

NEVER = float("inf")


def _cover(d: Tensor, allowed: Tensor) -> Tensor:
    """Each row (a real, or a held fake) pulls the fake nearest to it: [G, m]."""
    with torch.no_grad():
        partner = d.masked_fill(~allowed, NEVER).argmin(2, keepdim=True)
    return d.gather(2, partner).squeeze(2) * allowed.any(2)


def _nearest_real(d: Tensor, allowed: Tensor) -> Tensor:
    """Each column (a fake) goes to the row nearest to it: [G, m]."""
    return _cover(d.transpose(1, 2), allowed.transpose(1, 2))


def _random(d: Tensor, allowed: Tensor) -> Tensor:
    """Slot i is compared with slot i, or with its neighbour where the diagonal is excluded: [G, m].

    Slots are drawn independently, so a fixed partner is a random one.
    """
    m = d.shape[1]
    # Walk on from slot i to the first allowed partner: i itself without a mask, i + 1 with the diagonal out.
    walk = (torch.arange(m, device=d.device).unsqueeze(1) + torch.arange(m, device=d.device)) % m
    order = allowed.gather(2, walk.expand_as(allowed))
    partner = walk.expand_as(allowed).gather(2, order.int().argmax(2, keepdim=True))
    return d.gather(2, partner).squeeze(2) * allowed.any(2)


def _all(d: Tensor, allowed: Tensor) -> Tensor:
    """Each row's mean distance to every allowed column: [G, m]."""
    return (d * allowed).sum(2) / allowed.sum(2).clamp(min=1)


def _each(rule):
    """A pairing by a rule for one matrix of distances: without the diagonal in both parts where relative."""

    def pair(xy: Tensor, yy: Tensor | None, allowed: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        if yy is None:
            return rule(xy, allowed), torch.zeros_like(xy[:, 0])
        return rule(xy, others), rule(yy, others)

    return pair


def assignment(xy: Tensor, yy: Tensor | None, allowed: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """One-to-one partners of least total distance, and between two halves of the fakes where relative.

    The solver (Jonker & Volgenant's, in SciPy) runs on the host: one copy there and back a micro-batch.
    Relative, fakes are assigned to as many reals and the fakes of one half of the group to the other's,
    so both problems have m // 2 rows and the same minibatch bias, which cancels.
    """
    if yy is None:
        return _matched(xy, allowed), torch.zeros_like(xy[:, 0])
    half = xy.shape[1] // 2
    first, second = slice(0, half), slice(half, 2 * half)
    cross = _matched(xy[:, first, first], allowed[:, first, first])
    cross = cross + _matched(xy[:, second, second], allowed[:, second, second])
    # Between the halves both ends move: each is held once, so that both get their gradient.
    inner = _matched(yy[:, first, second], allowed[:, first, second])
    inner = inner + _matched(yy[:, second, first], allowed[:, second, first])
    return cross, inner


def _matched(d: Tensor, allowed: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    cost = d.detach().masked_fill(~allowed, 1e6).nan_to_num(1e6, 1e6).cpu().numpy()  # NaN: the update will be skipped
    partner = np.stack([linear_sum_assignment(c)[1] for c in cost])
    partner = torch.from_numpy(partner).to(d.device).unsqueeze(2)
    return (d.gather(2, partner) * allowed.gather(2, partner)).squeeze(2)


random = _each(_random)
nearest = _each(_nearest_real)
cover = _each(_cover)
every = _each(_all)
