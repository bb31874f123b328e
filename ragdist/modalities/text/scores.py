"""All figures of texts by training texts: one row of the table in which samples stand beside chains. No PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragdist.modalities.text import words
from ragdist.modalities.text.language_model import bits
from ragdist.modalities.text.ngrams import END, ORDER, NGrams, divergences

_OF_BLEU = 200  # texts, at most: its figure rises with their number
_ENDED = 0.1  # share of texts that end before their windows: fewer may be the ends of files that were cut into windows


@dataclass
class Score:
    """What a column of the table is."""

    title: str
    short: str  # above a column


SCORES = {
    **{f"js_{n}": Score(f"JS-{n}", f"JS-{n}") for n in range(1, ORDER + 1)},
    "known_words": Score("known words", "known"),
    "unique_lines": Score("unique lines", "unique"),
    "copied_lines": Score("copied lines", "copied"),
    "self_bleu": Score("self-BLEU", "self-BLEU"),
    "lm_score": Score("LM score, bits a character", "LM"),
    "reverse_lm_score": Score("reverse LM score, bits a character", "reverse LM"),
}


@dataclass
class TrainingTexts:
    """Training texts, counted once, that other texts are scored by.

    Args:
        texts: with the symbol `END` where they end before their windows do.
        symbols: how many characters may occur; 0: those that do.
    """

    texts: Sequence[str]
    symbols: int = 0
    grams: NGrams = field(init=False)
    lines: frozenset[str] = field(init=False)
    known: frozenset[str] = field(init=False)  # words, and what windows left of some
    begins: bool = field(init=False)  # whether windows begin where texts begin

    def __post_init__(self) -> None:
        self.grams = NGrams(self.texts)
        self.symbols = max(self.symbols, len(self.grams.alphabet), 1)
        self.lines = frozenset(self.texts)
        self.begins = sum(text.endswith(END) for text in self.texts) >= _ENDED * len(self.texts)
        self.known = frozenset(word for text in self.texts for word in text.removesuffix(END).split())

    def scores(self, texts: Sequence[str], held_out: Sequence[str] = ()) -> dict[str, float]:
        """All figures of texts, by the names in `SCORES`; nan where there is nothing to compare.

        Takes a second for some thousand lines. Divergences and the reverse score depend on how many texts there are.

        Args:
            texts: to be scored.
            held_out: texts of the training texts' kind that are not among them, for the reverse score.
        """
        js = divergences(texts, self.grams)
        return {f"js_{n}": value for n, value in enumerate(js, 1)} | {
            "known_words": words.known_words(texts, self.known, begins=self.begins),
            "unique_lines": words.unique(texts),
            "copied_lines": words.copied(texts, self.lines),
            "self_bleu": words.self_bleu(texts[:_OF_BLEU]),
            "lm_score": bits(texts, self.grams, self.symbols),
            "reverse_lm_score": bits(held_out, NGrams(texts), self.symbols),
        }
