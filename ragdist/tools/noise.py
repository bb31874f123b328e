"""Counter-based randomness: every number is a function of (seed, stream, sample number).

Nothing here has a state. Sample number n counts all samples a run has drawn since its start, so the
same n gets the same noise on any worker, after any restart and at any batch size.

The generator is Philox 4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
2011) through NumPy's raw words, which are the published algorithm's own; NumPy's distributions,
which may change between versions, are not used. Golden values in the tests freeze it all.
"""

import numpy as np

# What a stream of numbers is for: a part of the key, so that streams are independent.
LATENT, AUGMENT, SHARDS, WINDOW, GRID, WRITER, PATH, REALS, LABEL, PROJECTION, CLASSIFIER, CHAIN = range(1, 13)

_WORDS_PER_BLOCK = 4


def words(seed: int, stream: int, first: int, count: int, width: int) -> np.ndarray:
    """Raw words for ``count`` items from number ``first`` on: uint64 [count, width]."""
    blocks = -(-width // _WORDS_PER_BLOCK)
    generator = np.random.Philox(key=[seed, stream], counter=[first * blocks, 0, 0, 0])
    raw = generator.random_raw(count * blocks * _WORDS_PER_BLOCK)
    return raw.reshape(count, blocks * _WORDS_PER_BLOCK)[:, :width]


def uniform(seed: int, stream: int, first: int, count: int, width: int) -> np.ndarray:
    """Uniform numbers in [0, 1) of 53 bits: float64 [count, width]."""
    return (words(seed, stream, first, count, width) >> np.uint64(11)) * 2.0**-53


def normal(seed: int, stream: int, first: int, count: int, width: int) -> np.ndarray:
    """Standard normal numbers by Box and Muller's transform: float32 [count, width].

    Computed in float64 and rounded once, so that a last-bit difference between two machines'
    logarithms hardly ever reaches the result.
    """
    half = -(-width // 2)
    u = uniform(seed, stream, first, count, 2 * half)
    radius = np.sqrt(-2.0 * np.log1p(-u[:, :half]))
    angle = 2.0 * np.pi * u[:, half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, :width].astype(np.float32)


def permutation(seed: int, stream: int, item: int, size: int) -> np.ndarray:
    """A random permutation of range(size), number ``item``: int64 [size].

    It sorts ``size`` random words; a sort of integers that keeps ties in place has one result
    everywhere. ``size`` is below 2**32.
    """
    assert size < 2**32
    blocks = -(-size // _WORDS_PER_BLOCK)
    generator = np.random.Philox(key=[seed, stream], counter=[0, item, 0, 1])
    return np.argsort(generator.random_raw(blocks * _WORDS_PER_BLOCK)[:size], kind="stable")
