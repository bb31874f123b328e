"""The relative term: distances between generated samples and training data.

Within a pairing group of m slots there are reals x_1..x_m and fakes y_1..y_m. A pairing decides which
of them are compared; distances are d(a, b) = |a - b|^p / s, where s is the mean distance between the
group's reals, so that the term's weight has no unit. The choice of partners carries no gradient; the
distances carry one to the fakes alone.

The *relative* form subtracts the same term measured between the fakes themselves. Once fakes and
reals come from one distribution both parts have the same law, so the expected gradient is zero for
any group size: fakes are drawn to a real only as far as they are farther from the data than from
each other, and nothing pulls them to the mean.

``cover`` without the relative part is the loss of IMLE (Li & Malik 2018; in a GAN: InclusiveGAN, Yu et
al. 2020); relative ``all`` with p = 1 is half the energy distance (Szekely & Rizzo 2013); relative
``assignment`` is the minibatch energy distance of OT-GAN (Salimans et al. 2018).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.objective import PAIRINGS
from ragdist.objective.pairings import NEVER


class Relative(NamedTuple):
    """The relative term of some groups; each entry is a sum over their slots, a scalar tensor in float32."""

    term: Tensor  # the value that is minimized; has a gradient
    to_real: Tensor  # the part between fakes and reals
    to_fake: Tensor  # the part between fakes and fakes: 0 unless relative
    covered: Tensor  # reals whose nearest fake is nearer than their nearest other real


def flatten(samples: Tensor, pool: int) -> Tensor:
    """Flatten samples [B, C, ...] to points [B, D] in float32, averaged down to at most ``pool`` values an axis.

    Works for any number of axes after the channels: sounds as well as images.
    """
    samples = samples.float()
    axes = samples.dim() - 2
    if axes and max(samples.shape[2:]) > pool:
        kernel = [-(-n // pool) for n in samples.shape[2:]]
        average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
        samples = average(samples, kernel, ceil_mode=True, count_include_pad=False)
    return samples.flatten(1)


def distances(a: Tensor, b: Tensor, p: int) -> Tensor:
    """|a_i - b_j|^p for a [G, m, D] and b [G, n, D]: [G, m, n]; p is 1 (Euclidean) or 2 (its square)."""
    square = (a.square().sum(2, keepdim=True) + b.square().sum(2).unsqueeze(1)).baddbmm(a, b.transpose(1, 2), alpha=-2)
    square = square.clamp(min=0)
    return square if p == 2 else (square + 1e-8).sqrt()


def relative_term(
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None,
    *,
    pairing: str,
    relative: bool,
    p: int,
    group: int,
) -> Relative:
    """The relative term of points ``real`` and ``fake`` [B, D], B a multiple of ``group``.

    ``labels`` [B], where given, restrict partners to a sample's own class; slot i's fake has slot i's
    label. A slot left without a partner counts 0. The relative `assignment` takes no labels: halves of a group
    have other counts of a class, so that its two parts would not have the same law.
    """
    assert labels is None or not (relative and pairing == "assignment")
    assert len(real) == len(fake), (len(real), len(fake))
    assert len(real) % group == 0, (len(real), group)
    # Matrix products would be rounded to bfloat16 inside autocast, and distances of near points lost.
    with torch.autocast(real.device.type, enabled=False):
        x = real.detach().float().reshape(-1, group, real.shape[1])
        y = fake.float().reshape(-1, group, fake.shape[1])
        allowed, others = _possible_partners(x, labels)
        xx, xy, yy = _distances_in_units_of_the_data(x, y, p, relative=relative)
        with torch.no_grad():
            covered = _nearest(xy, others) < _nearest(xx, others)
        to_real, to_fake = (value.sum(1) for value in PAIRINGS[pairing](xy, yy, allowed, others))
        to_real_, to_fake_ = to_real.detach().sum(), to_fake.detach().sum()
        return Relative((to_real - to_fake).sum(), to_real_, to_fake_, covered.float().sum(1).sum())


def _possible_partners(x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Masks [G, m, m] of the slots of groups ``x`` that may be compared, with the diagonal and without."""
    group = x.shape[1]
    allowed = torch.ones(group, group, dtype=torch.bool, device=x.device).expand(len(x), -1, -1)
    if labels is not None:
        labels = labels.reshape(-1, group)
        allowed = labels.unsqueeze(2) == labels.unsqueeze(1)
    return allowed, allowed & ~_diagonal(x)


def _diagonal(groups: Tensor) -> Tensor:
    return torch.eye(groups.shape[1], dtype=torch.bool, device=groups.device)


def _distances_in_units_of_the_data(
    x: Tensor, y: Tensor, p: int, *, relative: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """d(x_i, x_j), d(x_i, y_j) and, where ``relative``, d(y_i, y_j) of reals and fakes [G, m, D]: each [G, m, m]."""
    # Around the reals' mean the products of `distances` lose the fewest digits; distances do not change.
    size = x.square().sum(2).mean(1).sqrt().view(-1, 1, 1) ** p
    centre = x.mean(1, keepdim=True)
    x, y = x - centre, y - centre
    xx = distances(x, x, p).detach()
    scale = _one_over_mean(xx, size, p)
    xy = distances(x, y, p) * scale
    # The term between fakes moves one of the two ends: the other is held, as the reals are.
    yy = distances(y.detach(), y, p) * scale if relative else None
    return xx * scale, xy, yy


def _one_over_mean(xx: Tensor, size: Tensor, p: int) -> Tensor:
    """1 / s of each group, [G, 1, 1]: s is the mean distance between its reals, whose norms are about ``size``."""
    group = xx.shape[1]
    mean = xx.masked_fill(_diagonal(xx), 0).sum((1, 2), keepdim=True) / max(1, group * (group - 1))
    alive = mean > (1e-3) ** p * (size + 1)  # else one sample repeated: there is no distance to measure by
    return torch.where(alive, 1 / mean.clamp(min=1e-12), torch.zeros_like(mean))


def _nearest(d: Tensor, allowed: Tensor, dim: int = 2) -> Tensor:
    return d.masked_fill(~allowed, NEVER).amin(dim)
