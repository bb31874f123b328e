"""The relative term is calibrated, pulls the right way, and finds the partners it says."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits

from ragdist.objective import PAIRINGS
from ragdist.objective.relative import distances, flatten, relative_term

DIGITS = torch.tensor(load_digits().data, dtype=torch.float64) / 8 - 1
M = 32


LABELS = torch.tensor(load_digits().target)


def pull(
    pairing: str, relative: bool, spread: float, p: int = 2, *, labels: bool = False, groups: int = 400, m: int = M
) -> tuple[float, float]:
    """The term's derivative along y -> mean + (1 + a)(y - mean) with y drawn from the data and spread so far
    around their mean: its mean and standard error over groups, as a share of the pull of `random`."""
    generate = torch.Generator().manual_seed(0)
    # Rows without repetition: 2 m different samples a group.
    pick = torch.rand(groups, len(DIGITS), generator=generate).argsort(1)[:, : 2 * m]
    real, fake, own = pick[:, :m].flatten(), pick[:, m:].flatten(), None
    if labels:  # slot i's fake has the label of slot i's real
        own = LABELS[real]
        order, sizes = LABELS.argsort(), LABELS.bincount()
        place = (torch.rand(len(own), generator=generate) * sizes[own]).long()
        fake = order[sizes.cumsum(0)[own] - sizes[own] + place]
    x, mean = DIGITS[real], DIGITS.mean(0)
    y = (mean + spread * (DIGITS[fake] - mean)).requires_grad_()
    found = relative_term(x, y, own, pairing=pairing, relative=relative, p=p, group=m)
    (gradient,) = torch.autograd.grad(found.term / m, y)
    slopes = (gradient * (y.detach() - mean)).view(groups, -1).sum(1).numpy()
    return slopes.mean(), slopes.std(ddof=1) / np.sqrt(groups)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("pairing", ["cover", "all", "nearest", "random", "assignment"])
def test_the_relative_form_does_not_move_samples_of_the_data_distribution(pairing, p):
    mean, error = pull(pairing, True, 1.0, p)
    assert abs(mean) < 4 * error
    assert error < 0.02


@pytest.mark.parametrize("pairing", ["cover", "all", "nearest", "random"])
def test_nor_within_classes(pairing):
    mean, error = pull(pairing, True, 1.0, 1, labels=True)
    assert abs(mean) < 4 * error
    assert error < 0.02


@pytest.mark.parametrize(("pairing", "least"), [("cover", 0.2), ("random", 0.8)])
def test_without_it_samples_are_pulled_to_the_mean(pairing, least):
    assert pull(pairing, False, 1.0)[0] > least


@pytest.mark.parametrize("pairing", ["cover", "all", "assignment"])
def test_the_relative_form_restores_the_spread(pairing):
    # `all` with p = 2 compares means alone; the energy distance has p = 1.
    p = 1 if pairing == "all" else 2
    (low, e1), (high, e2) = pull(pairing, True, 0.5, p), pull(pairing, True, 2.0, p)
    assert low < -4 * e1  # too narrow: pushed apart
    assert high > 4 * e2  # too wide: drawn in


points = st.integers(0, 2**31).map(lambda seed: torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(points, st.sampled_from([4, 7]), st.sampled_from([1, 2]), st.sampled_from(sorted(PAIRINGS)), st.booleans(),
       st.sampled_from([None, 1, 2]))  # fmt: skip
def test_against_a_plain_loop(generate, m, p, pairing, relative, classes):
    """The batched term equals the definition, written with Python loops over pairs."""
    if relative and pairing == "assignment":
        classes = None
    x, y = (torch.randn(2 * m, 3, generator=generate) for _ in range(2))
    labels = None if classes is None else torch.randint(0, classes, (2 * m,), generator=generate)
    found = relative_term(x, y, labels, pairing=pairing, relative=relative, p=p, group=m)
    expected = 0.0
    for start in (0, m):
        pick = slice(start, start + m)
        a, b = x[pick].double().numpy(), y[pick].double().numpy()
        own = None if labels is None else labels[pick].numpy()
        expected += plain(a, b, own, pairing, relative, p)
    assert found.term.item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def plain(x, y, labels, pairing, relative, p):
    m = len(x)

    def d(a, b):
        return np.linalg.norm(a - b) ** p

    unit = np.mean([d(x[i], x[j]) for i, j in itertools.permutations(range(m), 2)])

    def partners(diagonal, rows=None, columns=None):
        rows, columns = rows or range(m), columns or range(m)
        return {
            i: [j for j in columns if (diagonal or i != j) and (labels is None or labels[i] == labels[j])] for i in rows
        }

    def term(a, b, diagonal):
        allowed = partners(diagonal)
        if pairing == "cover":
            return sum(min(d(a[i], b[j]) for j in js) for i, js in allowed.items() if js)
        if pairing == "nearest":
            return sum(min(d(a[j], b[i]) for j in js) for i, js in allowed.items() if js)
        if pairing == "all":
            return sum(np.mean([d(a[i], b[j]) for j in js]) for i, js in allowed.items() if js)
        nexts = {i: next(((i + k) % m for k in range(m) if (i + k) % m in js), None) for i, js in allowed.items()}
        return sum(d(a[i], b[j]) for i, j in nexts.items() if j is not None)

    def matched(a, b, rows, columns):
        same = np.array([[labels is None or labels[i] == labels[j] for j in columns] for i in rows])
        cost = np.array([[d(a[i], b[j]) for j in columns] for i in rows])
        pairs = linear_sum_assignment(np.where(same, cost, 1e6))
        return (cost * same)[pairs].sum()

    if pairing == "assignment":
        if not relative:
            return matched(x, y, range(m), range(m)) / unit
        one, two = range(m // 2), range(m // 2, 2 * (m // 2))
        cross = matched(x, y, one, one) + matched(x, y, two, two)
        return (cross - matched(y, y, one, two) - matched(y, y, two, one)) / unit
    return (term(x, y, not relative) - (term(y, y, False) if relative else 0)) / unit


def test_the_term_has_no_unit():
    x, y = torch.randn(M, 5), torch.randn(M, 5)
    for p in (1, 2):
        terms = [
            relative_term(k * x, k * y, None, pairing="cover", relative=True, p=p, group=M).term.item()
            for k in (1.0, 10.0)
        ]
        assert terms[0] == pytest.approx(terms[1], rel=1e-3)


def test_groups_are_independent_and_gradient_reaches_fakes_alone():
    x, y = torch.randn(64, 5), torch.randn(64, 5, requires_grad=True)
    x.requires_grad_()
    both = relative_term(x, y, None, pairing="cover", relative=True, p=1, group=32)
    halves = [relative_term(x[s], y[s], None, pairing="cover", relative=True, p=1, group=32).term
              for s in (slice(32), slice(32, 64))]  # fmt: skip
    assert both.term.item() == pytest.approx(sum(h.item() for h in halves), rel=1e-4)
    both.term.backward()
    assert x.grad is None
    assert y.grad.norm() > 0


def test_coverage_is_about_a_half_for_data_and_nothing_for_one_point():
    pick = torch.randperm(len(DIGITS), generator=torch.Generator().manual_seed(1))
    x, y = DIGITS[pick[:640]], DIGITS[pick[640:1280]]
    share = relative_term(x, y, None, pairing="cover", relative=True, p=1, group=32).covered.item() / 640
    assert 0.4 < share < 0.6
    collapsed = DIGITS.mean(0).expand(640, -1)
    assert relative_term(x, collapsed, None, pairing="cover", relative=True, p=1, group=32).covered.item() / 640 < 0.35


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_identical_reals_skip_the_term(p, scale):
    x = scale * torch.randn(1, 3000, generator=torch.Generator().manual_seed(0)).expand(8, -1)
    y = torch.randn(8, 3000, requires_grad=True)
    found = relative_term(x, y, None, pairing="cover", relative=True, p=p, group=8)
    found.term.backward()
    assert found.term.item() == 0
    assert torch.isfinite(y.grad).all()


def test_flatten_pools_any_number_of_axes():
    assert flatten(torch.zeros(2, 3, 64, 64), 32).shape == (2, 3 * 32 * 32)
    assert flatten(torch.zeros(2, 1, 8000), 100).shape == (2, 100)
    assert flatten(torch.zeros(2, 7), 2).shape == (2, 7)
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert flatten(image, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]


@pytest.mark.parametrize("p", [1, 2])
def test_distances(p):
    a, b = torch.randn(2, 5, 3), torch.randn(2, 4, 3)
    torch.testing.assert_close(distances(a, b, p), torch.cdist(a, b) ** p, rtol=1e-4, atol=1e-4)
