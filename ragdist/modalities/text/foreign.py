"""Texts that others packed, a member each: what they have in common, and what decoding does to them.

All functions are those of `modalities.base.Making`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ragdist.modalities.base import Form
from ragdist.modalities.text.document import of_file
from ragdist.modalities.text.options import TextIndexOptions
from ragdist.modalities.text.placing import normal, place
from ragdist.modalities.text.vocabulary import Vocabulary
from ragdist.modalities.text.vocabulary_of import learn

_LONGEST = 1024  # tokens, where nobody says how many


@dataclass
class FittedIndex(TextIndexOptions):
    """The options, and the vocabulary of the data."""

    learned: Vocabulary = field(default_factory=lambda: Vocabulary(()))


def content(payload: memoryview | bytes) -> str:
    """A member's text, without the line feeds at its end. Raises ValueError where it is none."""
    text = normal(of_file(bytes(payload))).rstrip("\n")
    if not text.strip():
        raise ValueError("it holds no text")
    return text


def index_fit(payloads: Iterable[bytes], options: TextIndexOptions) -> FittedIndex:
    """Learn the alphabet, and how long the longest text is."""
    counts, longest, shortest = Counter(), 0, 0

    def texts() -> Iterable[str]:
        for payload in payloads:
            try:
                yield content(payload)
            except ValueError:
                continue  # it is named when it is read

    for text in texts():
        counts.update(text)
        longest, shortest = max(longest, len(text)), min(shortest or len(text), len(text))
    if not options.tokens and longest > _LONGEST:
        raise ValueError(f"the longest text has {longest:,} characters: say with --tokens how much of one is a sample")
    tokens = options.tokens or max(longest, 1)
    learned = learn(texts, counts, options.vocabulary, padded=shortest < tokens)
    return FittedIndex(tokens, options.vocabulary, learned)


def describe(payload: memoryview, options: TextIndexOptions) -> Form:
    content(payload)
    learned = options.learned.spec if isinstance(options, FittedIndex) else {}
    return Form((options.tokens,), {**learned, "payload": "txt"})


def loses(form: Form, options: TextIndexOptions) -> bool:
    return False  # what is cut is counted


def notes(payload: memoryview, form: Form) -> tuple[str, ...]:
    return place(content(payload), form)[1]


def refusal(first: tuple[str, Form], other: tuple[str, Form], *, writing: bool) -> str:
    """No two texts differ in their form: shorter ones are padded, longer ones cut."""
    return ""
