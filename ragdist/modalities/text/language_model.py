"""A small language model, trained on the spot: characters predicted from the five before them.

Interpolated n-grams with Witten and Bell's estimate of what is unseen (1991; method C), which needs no discounts that
a few repeated texts leave undetermined. Needs no PyTorch; some seconds for 40,000 lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragdist.modalities.text.ngrams import NGrams


def bits(texts: Sequence[str], model: NGrams, symbols: int) -> float:
    """Cross-entropy of texts under the model of others, in bits a character, the texts' ends being characters, too.

    Args:
        texts: those to be predicted. Without a character among them: nan.
        model: counts of the texts that the model is trained on.
        symbols: how many characters may occur; of one that the model never saw, each is equally likely. Figures
            compare where this number is equal.
    """
    place, numbers = model.find(texts)
    here = np.flatnonzero(place > 0)
    if not len(here):
        return float("nan")
    likely = np.full(len(here), 1 / symbols)
    for n, table in enumerate(model.tables, 1):
        prefix = numbers[n - 2][here - 1] if n > 1 else np.zeros(len(here), np.int64)
        seen = np.append(0, np.cumsum(table.count))
        kinds = np.append(0, np.cumsum(table.count > 0))
        after = np.maximum(prefix, 0)
        begin, end = table.first[after], table.first[after + 1]
        times, different = seen[end] - seen[begin], kinds[end] - kinds[begin]
        gram = numbers[n - 1][here]
        count = np.where(gram >= 0, table.count[np.maximum(gram, 0)], 0)
        known = (prefix >= 0) & (times > 0)
        mixed = (count + different * likely) / np.maximum(times + different, 1)
        likely = np.where(known, mixed, likely)
    return float(-np.log2(likely).mean())
