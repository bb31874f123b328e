"""Options of making texts from files, and of indexing texts that others packed."""

from dataclasses import dataclass
from typing import Literal

from ragdist.config.option import common


@dataclass
class TextOptions:
    """How files become texts."""

    tokens: int = common(32, at_least=1, at_most=65_536)
    """length of the texts, in tokens; shorter ones are padded, longer ones cut"""
    per: Literal["line", "paragraph", "window", "file"] = common("line")
    """what is a sample: a line, what stands between empty lines, so many tokens anywhere, a file"""
    vocabulary: str = common("chars")
    """chars: the data's characters; bpe:512: so many frequent groups of them (byte-pair encoding)"""
