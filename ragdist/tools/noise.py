"""Counter-based randomness: every number is a function of (seed, stream, sample number).

Nothing here has a state. Sample number n counts all samples a run has drawn since its start, so the
same n gets the same noise on any worker, after any restart and at any batch size.

The generator is Philox 4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
2011) through NumPy's raw words, which are the published algorithm's own; NumPy's distributions,
which may change between versions, are not used. Golden values in the tests freeze it all.
"""

import threading

import numpy as np

# What a stream of numbers is for: a part of the key, so that streams are independent.
LATENT, AUGMENT, SHARDS, WINDOW, GRID, WRITER, PATH, REALS, LABEL, PROJECTION, CLASSIFIER, CHAIN = range(1, 13)
DISCRIMINATOR, INTERPOLATE = (
    13,
    14,
)  # augmentation of what D sees (AUGMENT is that of the reals alone); gradient penalty

_WORDS_PER_BLOCK = 4
_of_this_thread = threading.local()


def _philox(key: list[int], counter: list[int]) -> np.random.Philox:
    """The generator ``np.random.Philox(key=key, counter=counter)``, which is this thread's until the next call.

    Making one takes as long as 2,000 words: it asks the system for a seed, too, that is never used. The numbers become
    arrays as there: a key above 2**63 beside a small one loses its last bits, which stays so.
    """
    if not hasattr(_of_this_thread, "philox"):
        _of_this_thread.philox = np.random.Philox(key=0)
        _of_this_thread.fresh = _of_this_thread.philox.state
    state = {"key": np.asarray(key).astype(np.uint64), "counter": np.asarray(counter).astype(np.uint64)}
    _of_this_thread.philox.state = _of_this_thread.fresh | {"state": state}
    return _of_this_thread.philox


def words(seed: int, stream: int, first: int, count: int, width: int) -> np.ndarray:
    """Raw words for ``count`` items from number ``first`` on: uint64 [count, width]."""
    blocks = -(-width // _WORDS_PER_BLOCK)
    generator = _philox([seed, stream], [first * blocks, 0, 0, 0])
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
    # Uniform numbers are k / 2**53, and a factor of a power of two rounds nothing: here they are scaled at once.
    k = (words(seed, stream, first, count, 2 * half) >> np.uint64(11)).view(np.int64)
    radius, angle = k[:, :half] * -(2.0**-53), k[:, half:] * (2.0 * np.pi * 2.0**-53)
    # In place: memory is as much of the time as the functions are.
    np.sqrt(np.multiply(-2.0, np.log1p(radius, out=radius), out=radius), out=radius)
    found = np.empty((count, 2 * half), np.float32)
    np.multiply(radius, np.cos(angle), out=found[:, :half], casting="same_kind")
    np.multiply(radius, np.sin(angle, out=angle), out=found[:, half:], casting="same_kind")
    return np.ascontiguousarray(found[:, :width])


def permutation(seed: int, stream: int, item: int, size: int) -> np.ndarray:
    """A random permutation of range(size), number ``item``: int64 [size].

    It sorts ``size`` random words; a sort of integers that keeps ties in place has one result
    everywhere. ``size`` is below 2**32.
    """
    assert size < 2**32
    blocks = -(-size // _WORDS_PER_BLOCK)
    generator = _philox([seed, stream], [0, item, 0, 1])
    return np.argsort(generator.random_raw(blocks * _WORDS_PER_BLOCK)[:size], kind="stable")
