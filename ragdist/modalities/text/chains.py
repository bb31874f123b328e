"""Markov chains of characters: what an n-gram model of the training texts writes, to compare samples with.

Needs no PyTorch. Chain k draws each character from those that follow the last k in the training texts; at a text's
beginning, from those that follow its beginning.
"""

from __future__ import annotations

import numpy as np

from ragdist.modalities.text.ngrams import END, NGrams
from ragdist.tools import noise


def sample(counts: NGrams, order: int, number: int, length: int, seed: int = 0) -> list[str]:
    """Texts that a chain writes; line i is a function of the training texts, the order, the seed and i.

    Args:
        counts: of the training texts, of n-grams longer than ``order``.
        order: how many characters the next one depends on. What follows where the training texts stop, as at the end
            of a window, is drawn as after fewer characters.
        number: how many texts.
        length: of the longest; others have the symbol `END` at their end, as far as training texts have it.
        seed: of the noise.
    """
    assert 0 <= order < counts.order, order
    if not len(counts.alphabet):  # there is nothing to write
        return [""] * number
    order = min(order, len(counts.tables) - 1)  # of what no text is long enough for, there are no counts
    chosen = noise.uniform(seed, noise.CHAIN, 0, number, length)
    alphabet = np.append(np.uint32(0), counts.alphabet)
    written = np.zeros((number, length), np.uint32)
    state = _start(counts, order, number)
    lengths = np.full(number, length)
    for step in range(length):
        grams = _next(counts, state, chosen[:, step])
        written[:, step] = alphabet[_last_symbols(counts, grams)]
        ended = (written[:, step] == ord(END)) & (lengths == length)
        lengths[ended] = step + 1
        state = _moved(counts, order, grams)
    return [_text(row[:n]) for row, n in zip(written, lengths, strict=True)]


def _start(counts: NGrams, order: int, number: int) -> np.ndarray:
    """At the start of texts: what was written last, as the numbers of its n-grams, int64 [order + 1, number]; -1: none.

    Row n is of the last n symbols. The start is the first gram of one symbol.
    """
    state = np.full((order + 1, number), -1)
    state[: min(order, 1) + 1] = 0
    return state


def _next(counts: NGrams, state: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Draw the next grams by uniform numbers: int64 [2, number], lengths and numbers of the grams."""
    lengths, grams = np.zeros(len(chosen), np.int64), np.zeros(len(chosen), np.int64)
    for n, prefix in enumerate(state):  # the longest prefix that something follows is drawn last
        table = counts.tables[n]
        seen = np.append(0, np.cumsum(table.count))
        after = np.maximum(prefix, 0)
        begin, end = seen[table.first[after]], seen[table.first[after + 1]]
        here = (prefix >= 0) & (end > begin)
        drawn = begin + np.minimum((chosen * (end - begin)).astype(np.int64), np.maximum(end - begin - 1, 0))
        gram = np.searchsorted(seen, drawn, side="right") - 1
        lengths, grams = np.where(here, n + 1, lengths), np.where(here, gram, grams)
    return np.stack([lengths, grams])


def _last_symbols(counts: NGrams, grams: np.ndarray) -> np.ndarray:
    lengths, numbers = grams
    last = np.zeros(len(numbers), np.int64)
    for n in np.unique(lengths):
        here = lengths == n
        last[here] = counts.last_symbol(int(n), numbers[here])
    return last


def _moved(counts: NGrams, order: int, grams: np.ndarray) -> np.ndarray:
    """The states behind grams that were drawn."""
    lengths, numbers = grams
    state = np.full((order + 2, len(numbers)), -1)
    state[lengths, np.arange(len(numbers))] = numbers
    for n in range(order + 1, 0, -1):
        suffix = counts.tables[n - 1].suffix[np.maximum(state[n], 0)]
        state[n - 1] = np.where(state[n] >= 0, suffix, state[n - 1])
    return state[: order + 1]


def _text(points: np.ndarray) -> str:
    return points.tobytes().decode("utf-32-le", "surrogatepass")
