"""Features of texts that need no network and no labels: which n-grams of tokens a text has."""

import hashlib
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ragdist.metrics.extractor import Extractor, Features
from ragdist.modalities.base import Form
from ragdist.tools import noise


class _Part(NamedTuple):
    n: int  # tokens of a gram
    dim: int
    windows: int  # contiguous parts of a text that are counted each for themselves


_PARTS = (_Part(1, 32, 2), _Part(2, 64, 1), _Part(3, 96, 1))
_BUCKETS = 1 << 14  # that grams are hashed to
_SEED = 1  # of the projection: the relative term's embedding has 0
_MIX = (-49064778989728563, -4265267296055464877)  # MurmurHash3's constants, as int64


class NGramFeatures(Extractor):
    """Counts of one, two and three tokens in a row, hashed, then projected by random signs.

    Distances are about those of the counts themselves: texts are close that share many n-grams, wherever these stand;
    of single tokens the two halves are counted apart. They are sums of whole numbers, the same on all machines. Of the
    lengths and numbers tried these told chains of low order from real texts best.
    """

    name = "ngrams"

    def __init__(self, form: Form):
        most = [form.shape[0] - part.n + 1 for part in _PARTS]  # grams of a text
        self.parts = [
            part._replace(windows=min(part.windows, n)) for part, n in zip(_PARTS, most, strict=True) if n > 0
        ]
        self.dim = sum(part.dim * part.windows for part in self.parts)
        self.resizing = "n-grams of tokens, n = 1 to 3"
        formula = f"ngrams 1: {[tuple(part) for part in self.parts]} of {form.shape}, {_BUCKETS} {_SEED}"
        self.sha256 = hashlib.sha256(formula.encode()).hexdigest()
        self.about = {}

    def __call__(self, texts: Tensor) -> tuple[Tensor, None]:
        return torch.cat([found for part in self.parts for found in _counted(texts.long(), part)], 1), None


def _counted(tokens: Tensor, part: _Part) -> list[Tensor]:
    """Projected counts of a part's grams in token numbers [n, T], float32 [n, dim] of each window."""
    signs = _signs(part).to(tokens.device)
    count = tokens.shape[1] - part.n + 1
    grams = torch.full_like(tokens[:, :count], part.n)
    for k in range(part.n):
        grams = _mixed(grams * 1_000_003 + tokens[:, k : k + count])
    bounds = [window * count // part.windows for window in range(part.windows + 1)]
    return [
        F.embedding_bag(grams[:, begin:end] % _BUCKETS, signs, mode="sum") / (end - begin) ** 0.5
        for begin, end in pairwise(bounds)
    ]


def _mixed(numbers: Tensor) -> Tensor:
    """Spread int64 numbers over all their bits, by MurmurHash3's last step."""
    for factor in _MIX:
        numbers = (numbers ^ (numbers >> 33)) * factor
    return numbers ^ (numbers >> 33)


@cache
def _signs(part: _Part) -> Tensor:
    """Random signs for each bucket, float32 [_BUCKETS, dim]."""
    words = noise.words(_SEED, noise.PROJECTION, part.n * _BUCKETS, _BUCKETS, -(-part.dim // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1)[:, : part.dim]
    return torch.from_numpy(bits.astype(np.float32)) * 2 - 1


NGRAMS = Features(lambda source: NGramFeatures(source.data.index.form))
