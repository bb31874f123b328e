"""Texts by numbers, beside chains of characters that were trained on the same texts."""

import math

import torch
from torch import Tensor

from ragdist.config.evaluation import METRICS
from ragdist.metrics.measure import Comparison, Figure, Material, Measure, Neighbours, Result
from ragdist.modalities.text import chains
from ragdist.modalities.text.language_model import bits
from ragdist.modalities.text.ngrams import END, ORDER, NGrams
from ragdist.modalities.text.scores import SCORES, TrainingTexts
from ragdist.modalities.text.strings import characters, scored

_TEXTS, _REALS = 3_000, 50_000  # that are judged, and that they are judged by
_CHARACTERS = 4_000_000  # most of these on either side: counting their n-grams takes some hundred bytes each
_VERSION = 1  # of the ladder's code
_ORDERS = range(ORDER)
_LEADING = {"js_4": ("JS-4", ".3f", ""), "reverse_lm_score": ("reverse LM score", ".2f", " bits")}


def _scores(material: Material, found: Neighbours, result: Result) -> None:
    most = max(_CHARACTERS // material.form.shape[0], 8)
    texts = scored(material.fake_samples[: min(_TEXTS, most)], material.form)
    training, held, rest = _split(material, len(texts), most)
    counted = TrainingTexts(training, characters(material.form))
    names = [rest, *(f"chain of order {order}" for order in _ORDERS)]
    key = f"text scores {_VERSION}: {len(texts)} by {len(training)}, {len(held)}"
    ladder = material.remembered(key, lambda: _ladder(counted, held, len(texts)))
    own = counted.scores(texts, held)
    of = f"{len(texts):,} + {len(training):,} texts"
    for (name, score), value, natural in zip(SCORES.items(), own.values(), ladder[0].tolist(), strict=True):
        best = f"{natural:.3g}" if math.isfinite(natural) else ""
        result.figures.append(Figure(name, score.title, value, None, best, of))
    columns = {name: score.short for name, score in SCORES.items()}
    rows = [("samples", list(own.values())), *zip(names, ladder.tolist(), strict=True)]
    result.tables.append(Comparison("Samples beside chains of characters", columns, rows))
    chained = [dict(zip(SCORES, row, strict=True)) for row in ladder[1:].tolist()]
    result.headlines += [place(name, own[name], [row[name] for row in chained]) for name in _LEADING]
    if len(held) < len(texts):
        result.notes.append(f"{rest}: {len(held):,}, fewer than samples, so that their JS is too large")


def _split(material: Material, count: int, most: int) -> tuple[list[str], list[str], str]:
    """Training texts, texts that are none of them, and what these are: some of the reals where none are held out."""
    texts = scored(material.real_samples[:most], material.form)
    if material.held_out_samples is not None and len(material.held_out_samples):
        return texts, scored(material.held_out_samples[:count], material.form), "held-out texts"
    aside = min(count, len(texts) // 4)
    return texts[aside:], texts[:aside], "texts put aside"


def _ladder(counted: TrainingTexts, held: list[str], count: int) -> Tensor:
    """Scores of the held-out texts and of as many texts as there are samples by each chain: float64 [rows, SCORES]."""
    rows = [counted.scores(held, held) | {"reverse_lm_score": _natural(counted, held, count)}]
    length = _length(counted.texts)
    for order in _ORDERS:
        rows.append(counted.scores(chains.sample(counted.grams, order, count, length), held))
    return torch.tensor([list(row.values()) for row in rows], dtype=torch.float64)


def _natural(counted: TrainingTexts, held: list[str], count: int) -> float:
    """The reverse score of as many training texts as there are samples."""
    return bits(held, NGrams(counted.texts[:count]), counted.symbols)


def _length(texts: list[str]) -> int:
    """The usual length of texts that fill their windows, else of the longest: where chains stop at the latest."""
    full = sorted(len(text) for text in texts if not text.endswith(END))
    return max(full[len(full) // 2] if full else max(map(len, texts), default=1), 1)


def place(name: str, value: float, chained: list[float]) -> str:
    """Where a figure, of which less is better, stands among those of chains of order 0, 1, ..., in words."""
    title, digits, unit = _LEADING[name]
    if not math.isfinite(value):
        return f"{title}: these samples have none"
    begin, figures = f"{title} {value:{digits}}{unit}", [f"({other:{digits}})" for other in chained]
    first = next((order for order, other in enumerate(chained) if value >= other), len(chained))
    if first == len(chained):
        return f"{begin}: better than chains of any order up to {first - 1} {figures[-1]}"
    worse = f"{begin}: worse than a chain of order {first} {figures[first]}"
    return worse + (f", better than one of order {first - 1} {figures[first - 1]}" if first else "")


TEXT_SCORES = Measure(_scores, METRICS["text_scores"][0], of_samples=True, keeps=_TEXTS, keeps_reals=_REALS)
