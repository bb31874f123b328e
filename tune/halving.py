"""Asynchronous successive halving (Li et al. 2018, https://arxiv.org/abs/1810.05934), as functions of what is known.

A trial is judged at rungs, after parts of its budget. It goes on from a rung if it is among the best of those that
were judged there before it; nobody waits for anybody.
"""

from collections.abc import Sequence

REDUCTION = 2  # one of so many goes on
RUNGS = 3  # at a quarter, a half, and all of the budget


def rungs(budget: int, batch: int) -> list[int]:
    """Samples at which a trial of so many is judged; whole updates, the budget last."""
    parts = (budget / REDUCTION**number for number in reversed(range(RUNGS)))
    return sorted({-(-round(part) // batch) * batch for part in parts})


def goes_on(value: float, others: Sequence[float], sign: int) -> bool:
    """Whether a trial is among the best 1/REDUCTION of those at its rung.

    Args:
        value: its metric.
        others: those of the trials that were judged at that rung before it.
        sign: 1 if more is better, -1 if less is.
    """
    better = sum(sign * other > sign * value for other in others)
    return better < max((len(others) + 1) / REDUCTION, 1)
