"""Noise is a function of (seed, stream, sample number), frozen, and has the distribution it claims."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ragdist.tools import noise

seeds = st.integers(0, 2**63 - 1)

GOLDEN_WORDS = [
    [15003734204198539638, 13859618513508960101, 12389738016430293093],
    [13008555726918767727, 5037310111975314470, 15034004149162881932],
]
GOLDEN_PERMUTATION = [2, 3, 7, 9, 6, 8, 0, 5, 4, 1]
GOLDEN_NORMAL = [1.34705, -0.60025, 0.26598, -0.52863]


@given(seeds, st.integers(1, 7), st.integers(0, 2**40), st.integers(1, 50), st.integers(1, 9), st.data())
def test_a_slot_has_the_same_noise_whatever_is_drawn_around_it(seed, stream, first, count, width, data):
    whole = noise.words(seed, stream, first, count, width)
    assert whole.shape == (count, width)
    cut = data.draw(st.integers(0, count))
    parts = [noise.words(seed, stream, first, cut, width), noise.words(seed, stream, first + cut, count - cut, width)]
    assert np.array_equal(np.concatenate(parts), whole)


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**12), st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 9))
def test_words_are_those_of_a_new_generator(seed, stream, first, count, width):
    """The one that is used again, where it was left in the middle of a block, and with keys that NumPy rounds."""
    blocks = -(-width // 4)
    fresh = np.random.Philox(key=[seed, stream], counter=[first * blocks, 0, 0, 0]).random_raw(4 * blocks * count)
    noise.permutation(seed, stream, first, 5)
    assert np.array_equal(noise.words(seed, stream, first, count, width), fresh.reshape(count, -1)[:, :width])


@given(seeds, st.integers(0, 2**40), st.integers(1, 40), st.integers(1, 9))
def test_normal_numbers_are_box_and_mullers_rounded_once(seed, first, count, width):
    u = noise.uniform(seed, 1, first, count, 2 * (half := -(-width // 2)))
    radius, angle = np.sqrt(-2.0 * np.log1p(-u[:, :half])), 2.0 * np.pi * u[:, half:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :width].astype(np.float32)
    found = noise.normal(seed, 1, first, count, width)
    assert found.tobytes() == expected.tobytes()
    assert found.flags.c_contiguous


def test_golden_values():
    """A change of any of these is a change of every run that was ever made."""
    assert noise.words(0, noise.LATENT, 0, 2, 3).tolist() == GOLDEN_WORDS
    assert noise.permutation(7, noise.WINDOW, 3, 10).tolist() == GOLDEN_PERMUTATION
    np.testing.assert_array_equal(noise.normal(1, noise.LATENT, 5, 1, 4)[0].round(5), np.float32(GOLDEN_NORMAL))


def test_normal_is_normal():
    values = noise.normal(3, noise.LATENT, 0, 20_000, 5)
    assert values.dtype == np.float32
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.01
    correlation = np.corrcoef(values.T)
    assert np.abs(correlation - np.eye(5)).max() < 0.03


def test_streams_and_seeds_are_independent():
    draws = [noise.uniform(seed, stream, 0, 5000, 1).ravel() for seed in (0, 1) for stream in (1, 2)]
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.06


@given(seeds, st.integers(0, 2**63), st.integers(0, 300))
def test_a_permutation_is_one(seed, item, size):
    assert sorted(noise.permutation(seed, noise.WINDOW, item, size)) == list(range(size))


def test_every_permutation_is_as_likely():
    counts: dict[tuple, int] = {}
    for item in range(6000):
        key = tuple(noise.permutation(11, noise.SHARDS, item, 4))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 0.01
