"""Words of texts, and texts as wholes: how many are known, repeated, copied. Needs no PyTorch."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from ragdist.modalities.text.ngrams import END

BLEU = 4  # words of its longest n-grams
_UNSEEN = 0.1  # what stands for no match of a length: "method 1" of Chen and Cherry 2014


def words(text: str, *, begins: bool) -> list[str]:
    """Whole words of a text, between white space; those that its window may have cut are left out.

    Args:
        text: with the symbol `END` where it ends before its window does.
        begins: whether windows begin where texts begin, so that the first word is whole.
    """
    found = text.removesuffix(END).split()
    if found and not begins and not text[0].isspace():
        del found[0]
    if found and not text.endswith(END) and not text[-1].isspace():
        del found[-1]
    return found


def known_words(texts: Sequence[str], known: Collection[str], *, begins: bool) -> float:
    """Share of the whole words of texts that are among the known ones; nan where there are none."""
    found = [word in known for text in texts for word in words(text, begins=begins)]
    return sum(found) / len(found) if found else math.nan


def unique(texts: Sequence[str]) -> float:
    """The number of different texts by that of all."""
    return len(set(texts)) / max(len(texts), 1)


def copied(texts: Sequence[str], training: Collection[str]) -> float:
    """Share of texts that are, as a whole, among the training texts."""
    return sum(text in training for text in texts) / max(len(texts), 1)


def self_bleu(texts: Sequence[str]) -> float:
    """How alike texts are: the mean BLEU-4 of each against all others (Zhu et al. 2018, "Texygen"), from 0 to 1.

    BLEU (Papineni et al. 2002) is the geometric mean of the shares of n-grams of words, n = 1 to 4, that occur in
    another text, times exp(1 - r / c) where the text's length c is below r, that of the other text which is nearest to
    it. A share of 0 counts as 0.1 by the number of n-grams; lengths that a text has no n-grams of are left out, and
    texts without a word. Rises with the number of texts. Nan for fewer than two.
    """
    sentences = [found for text in texts if (found := text.removesuffix(END).split())]
    if len(sentences) < 2:
        return math.nan
    grams = [[_grams(sentence, n) for n in range(1, BLEU + 1)] for sentence in sentences]
    most = [_two_most([own[n] for own in grams]) for n in range(BLEU)]
    lengths = Counter(map(len, sentences))
    return sum(_bleu(i, own, most, lengths) for i, own in enumerate(grams)) / len(grams)


def _grams(sentence: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1))


def _two_most(counts: list[Counter]) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """Of each n-gram the two sentences that have it most often: (times, sentence), the first one more often."""
    found = defaultdict(list)
    for i, own in enumerate(counts):
        for gram, times in own.items():
            found[gram] = sorted([*found[gram], (times, i)], reverse=True)[:2]
    return found


def _bleu(i: int, own: list[Counter], most: list[dict], lengths: Counter[int]) -> float:
    logs = []
    for grams, others in zip(own, most, strict=True):
        if total := grams.total():
            clipped = sum(
                min(times, next((there for there, which in others[gram] if which != i), 0))
                for gram, times in grams.items()
            )
            logs.append(math.log((clipped or _UNSEEN) / total))
    length = own[0].total()
    others = (other for other, count in lengths.items() if count > (other == length))
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return math.exp(sum(logs) / len(logs) + min(1 - nearest / length, 0))
