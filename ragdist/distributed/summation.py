"""The order in which the gradients of a global batch are added up: a binary tree over its logical workers.

Floating-point sums depend on their order. Here the order depends on the number of logical workers alone, and not on
who computes them: ``count`` terms are split at the largest power of two below ``count``, and each side again. A worker
adds up the subtrees whose terms it has; what remains of the tree is added where these sums meet.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def halves(terms: range) -> tuple[range, range]:
    """The two sides of a sum of at least two terms."""
    middle = terms.start + (1 << (len(terms) - 1).bit_length() - 1)
    return range(terms.start, middle), range(middle, terms.stop)


def subtrees(count: int, part: range) -> list[range]:
    """The largest subtrees of a sum of ``count`` terms that lie in ``part``, in order."""

    def inside(terms: range) -> list[range]:
        if part.start <= terms.start and terms.stop <= part.stop:
            return [terms]
        if terms.stop <= part.start or part.stop <= terms.start:
            return []
        return [found for half in halves(terms) for found in inside(half)]

    return inside(range(count)) if part else []


def total(terms: range, sums: Mapping[range, T], add: Callable[[T, T], T]) -> T:
    """The sum of all terms, from the sums of subtrees that together are all of it."""
    if terms in sums:
        return sums[terms]
    left, right = halves(terms)
    return add(total(left, sums, add), total(right, sums, add))
