"""Byte-pair encoding of characters (Sennrich et al. 2016), by the library ``tokenizers``: frequent groups are tokens.

Groups do not cross from one word to the next: a word takes the space before it along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from ragdist.modalities.text.vocabulary import UNKNOWN
from ragdist.tools.errors import UserError

_WORDS = r"\s?\S+|\s+"
_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs, which are no characters to the library


def learn(texts: Iterable[str], size: int, characters: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Learn tokens, characters and groups of them, and the merges in the order in which they are made.

    Args:
        texts: of the data.
        size: how many tokens there are at most.
        characters: those that are tokens; others are left out.
    """
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(_WORDS), "isolated")
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(characters), limit_alphabet=len(characters), show_progress=False
    )
    tokenizer.train_from_iterator(map(whole, texts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [(a, b) for a, b in model["merges"]]


def whole(text: str) -> str:
    """A text with the character of unknown ones for halves of surrogate pairs, which the library refuses."""
    return text if text.isascii() else _HALVES.sub(UNKNOWN, text)


def is_character(character: str) -> bool:
    """Whether the library takes it for a character."""
    return not _HALVES.match(character)


@cache
def encoder(tokens: tuple[str, ...], merges: tuple[tuple[str, str], ...]) -> Any:
    """What encodes texts: its ``encode(text).ids`` are numbers of the tokens."""
    library = _library()
    vocabulary = {token: number for number, token in enumerate(tokens) if token}
    unknown = UNKNOWN if UNKNOWN in vocabulary else None
    tokenizer = library.Tokenizer(library.models.BPE(vocabulary, list(merges), unk_token=unknown))
    tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(_WORDS), "isolated")
    return tokenizer


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            "--vocabulary bpe needs the library tokenizers: pip install 'ragdist[text]', or pip install -e '.[text]' "
            "in its repository"
        ) from error
    return tokenizers
