"""Nearest neighbours equal brute force in float64, ties and duplicates included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.metrics import memorization, neighbours
from ragdist.metrics.density_coverage import density_coverage
from ragdist.metrics.neighbours import crossing, nearest, nearest_others
from ragdist.metrics.precision_recall import precision_recall


def brute(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.double()[:, None] - b.double()[None]).square().sum(2).sqrt()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 16)
    monkeypatch.setattr(neighbours, "COLUMNS", 24)


def cloud(seed: int, n: int, d: int, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + offset


def check(fakes: torch.Tensor, reals: torch.Tensor, k: int) -> None:
    own = brute(reals, reals).fill_diagonal_(torch.inf).sort(1)
    found = nearest_others(reals, k)
    torch.testing.assert_close(found.distance, own.values[:, :k], rtol=1e-12, atol=0)
    between = brute(fakes, reals)
    real_radii = found.distance[:, -1]
    fake_radii = nearest_others(fakes, k).distance[:, -1]
    crossed = crossing(fakes, reals, (real_radii,), (fake_radii,))
    torch.testing.assert_close(crossed.to_real.distance[:, 0], between.min(1).values, rtol=1e-12, atol=0)
    torch.testing.assert_close(crossed.to_fake.distance[:, 0], between.min(0).values, rtol=1e-12, atol=0)
    at = between[torch.arange(len(fakes)), crossed.to_real.index[:, 0]]
    torch.testing.assert_close(at, between.min(1).values, rtol=1e-12, atol=0)
    torch.testing.assert_close(crossed.real_balls[0], (between <= real_radii).sum(1))
    torch.testing.assert_close(crossed.fake_balls[0], (between <= fake_radii[:, None]).sum(0))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("sizes", [(70, 90), (16, 24), (7, 100), (100, 7)])
def test_equal_to_brute_force(sizes, offset):
    n, m = sizes
    check(cloud(0, n, 12, offset), cloud(1, m, 12, offset), k=3)


@pytest.mark.usefixtures("small_blocks")
def test_duplicates_among_and_between_the_sets():
    reals = torch.cat([cloud(0, 30, 40, 5.0), cloud(0, 30, 40, 5.0)[:20], cloud(0, 1, 40).repeat(9, 1)])
    fakes = torch.cat([reals[10:40], cloud(2, 20, 40, 5.0), reals[10:15]])
    check(fakes, reals, k=3)
    found = nearest(fakes, reals)
    assert (found.distance[:30] == 0).all()
    assert found.index[0, 0] == 10  # of equal ones the first
    assert memorization.copies(found) == 35 / 55


def test_a_near_copy_far_from_the_origin_is_not_lost_in_rounding():
    reals = cloud(0, 500, 64) * 100
    fakes = reals[:50] + 1e-4 * cloud(1, 50, 64)
    found = nearest(fakes, reals)
    assert found.index[:, 0].tolist() == list(range(50))
    assert (found.distance[:, 0] < 0.1).all()
    assert memorization.copies(found) == 0


def test_a_whole_copy_of_the_data():
    reals = cloud(3, 2500, 20)  # more than a block
    found = precision_recall(reals.flip(0), reals)
    assert found == (1.0, 1.0)
    # Closed balls: each holds its centre and its k neighbours, the last one at exactly the radius.
    balls = density_coverage(reals.flip(0), reals)
    assert balls.density == pytest.approx(6 / 5, abs=1e-9)
    assert balls.coverage == 1.0


def test_a_heap_of_copies_is_decided_by_rounding(monkeypatch):
    monkeypatch.setattr(neighbours, "_PAIRS", 100)
    reals = torch.cat([cloud(0, 100, 8), torch.zeros(50, 8)])
    found = precision_recall(torch.zeros(60, 8), reals)
    assert found.precision == 1.0
    assert found.recall == pytest.approx(50 / 150)


@given(st.integers(0, 10**6), st.integers(5, 40), st.integers(5, 40), st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=30)
def test_any_sizes_on_a_lattice_of_ties(seed, n, m, d, k):
    generator = torch.Generator().manual_seed(seed)
    fakes = torch.randint(0, 3, (n, d), generator=generator).float()
    reals = torch.randint(0, 3, (m, d), generator=generator).float()
    check(fakes, reals, k)


def test_planted_memorization():
    train, held_out = cloud(0, 1000, 10), cloud(1, 500, 10)
    baseline = nearest(held_out, train)
    spacing = nearest_others(train, 1).distance[:, 0]
    fresh = nearest(cloud(2, 500, 10), train)
    close = nearest(train[:500] + 0.1 * cloud(3, 500, 10), train)
    far = nearest(3 * cloud(4, 500, 10), train)
    copied = nearest(train[:500], train)
    assert memorization.memorization_ratio(copied, baseline) == 0
    assert memorization.memorization_ratio(close, baseline) < 0.3
    assert memorization.memorization_ratio(fresh, baseline) == pytest.approx(1, abs=0.05)
    assert memorization.memorization_ratio(far, baseline) > 1.5
    assert memorization.authenticity(fresh, spacing) == pytest.approx(0.65, abs=0.2)
    assert memorization.authenticity(close, spacing) < 0.05
    assert memorization.distances(copied) == (0, 0)
