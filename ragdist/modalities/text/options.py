"""Options of making texts from files, and of indexing texts that others packed."""

from dataclasses import dataclass
from typing import Literal

from ragdist.config.option import common, option

MOST_TOKENS = 1 << 15  # numbers that an int16 holds


@dataclass
class TextOptions:
    """How files become texts."""

    tokens: int = common(32, at_least=1, at_most=65_536)
    """length of the texts, padded or cut to it"""
    per: Literal["line", "paragraph", "window", "file"] = common("line")
    """what is a text; window: so many tokens of a file"""
    vocabulary: str = "chars"
    """chars: the data's characters, the most frequent 254, or of chars:1000 so many; bpe:512: so many frequent groups
    of them (byte-pair encoding); of:SHARDS: those of other shards, as held-out texts need"""


@dataclass
class TextIndexOptions:
    """How texts in shards that others wrote become samples."""

    tokens: int = option(0, at_least=0, at_most=65_536)
    """length of the samples, in tokens; shorter texts are padded, longer ones cut; 0: the longest text's"""
    vocabulary: str = "chars"
    """chars: the data's characters, the most frequent 254, or of chars:1000 so many; bpe:512: so many frequent groups
    of them; of:SHARDS: those of other shards"""
