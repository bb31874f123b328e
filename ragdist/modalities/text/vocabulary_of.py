"""The vocabulary of a data set, learned from its texts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable

from ragdist.modalities.text import byte_pairs, vocabulary
from ragdist.modalities.text.options import MOST_TOKENS
from ragdist.modalities.text.vocabulary import Vocabulary
from ragdist.tools.errors import UserError

_CHARACTERS = 254  # at most, unless the user says otherwise: with two special tokens they fit a byte


def asked(option: str) -> tuple[str, int]:
    """The kind of vocabulary that an option asks for, and how many characters, or tokens, where these are learned.

    Raises:
        UserError: there is no such kind.
    """
    kind, colon, number = option.partition(":")
    if kind == "of" and number:
        return kind, 0
    most = MOST_TOKENS - 2
    said = number.isdecimal() and 1 <= int(number) <= most
    if kind not in ("chars", "bpe") or (colon and not said) or (kind == "bpe" and not colon):
        raise UserError(f"--vocabulary {option}: give chars, chars:N or bpe:N, N up to {most:,}, or of:SHARDS")
    return kind, int(number) if colon else _CHARACTERS


def learn(texts: Callable[[], Iterable[str]], counts: Counter[str], option: str, *, padded: bool) -> Vocabulary:
    """Learn a vocabulary.

    Args:
        texts: gives the texts, in a pass of their own.
        counts: of their characters.
        option: ``--vocabulary``.
        padded: whether there are texts to be padded; of groups of characters there may always be some.

    Raises:
        UserError: the option is wrong, or leaves no room for groups.
    """
    kind, size = asked(option)
    if kind == "of":
        return _of_shards(option)
    able = counts if kind == "chars" else Counter({one: counts[one] for one in counts if byte_pairs.is_character(one)})
    kept = vocabulary.most_frequent(able, size if kind == "chars" else _CHARACTERS)
    special = vocabulary.special(counts, kept, padded=padded or kind == "bpe")
    if kind == "chars":
        return Vocabulary((*special, *kept))
    if size <= len(special) + len(kept):
        raise UserError(
            f"--vocabulary {option}: the data's characters alone are {len(special) + len(kept)} tokens: give more"
        )
    tokens, merges = byte_pairs.learn(texts(), size - len(special), kept)
    return Vocabulary((*special, *tokens), tuple(merges))


def _of_shards(option: str) -> Vocabulary:
    """The vocabulary of shards of texts that are there already. Raises UserError where there are none."""
    from ragdist.storage.store import Store  # which takes a while

    where = option.removeprefix("of:")
    try:
        said = json.loads(Store(where).read("index.json", attempts=4))
        spec = said["spec"]
        return Vocabulary(tuple(map(str, spec["tokens"])), tuple((a, b) for a, b in spec.get("merges", ())))
    except OSError as error:
        raise UserError(
            f"--vocabulary {option}: no index.json can be read there ({error.strerror or error})"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--vocabulary {option}: the shards there hold no texts") from error
