"""How well a score ranks outliers above normal samples: exact with ties, in any order of the samples."""

import torch
from torch import Tensor


def auroc(score: Tensor, outlier: Tensor) -> float:
    """Area under the ROC curve: the share of pairs whose outlier has the higher score, a tie counting half.

    Mann and Whitney's U by the pairs that there are (Hanley & McNeil 1982).

    Args:
        score: [n], higher for what looks like an outlier; infinite ones are ranked, NaN is not allowed.
        outlier: bool [n], some of either kind.
    """
    _, caught, false = _steps(score, outlier)
    above = torch.cat([caught.new_zeros(1), caught[:-1]])
    false_here = torch.diff(false, prepend=false.new_zeros(1))
    # In whole numbers: twice the outliers above each normal sample, and once those that tie with it.
    pairs = int((false_here * (above + caught)).sum())
    return pairs / (2 * int(caught[-1]) * int(false[-1]))


def average_precision(score: Tensor, outlier: Tensor) -> float:
    """Area under the precision-recall curve as its sum over steps of recall, without interpolation (AUPR).

    Equal scores are one step. A score that says nothing has the outliers' share.

    Args:
        score: [n], higher for what looks like an outlier; infinite ones are ranked, NaN is not allowed.
        outlier: bool [n], some of either kind.
    """
    _, caught, false = _steps(score, outlier)
    new = torch.diff(caught, prepend=caught.new_zeros(1)).double()
    return float((new * caught / (caught + false)).sum() / caught[-1])


def roc(score: Tensor, outlier: Tensor, most: int = 200) -> list[tuple[float, float]]:
    """Points (share of normal samples, share of outliers) above falling thresholds, from (0, 0) to (1, 1)."""
    _, caught, false = _steps(score, outlier)
    kept = torch.linspace(0, len(caught) - 1, min(most, len(caught))).round().long()
    x, y = (false / false[-1])[kept], (caught / caught[-1])[kept]
    return [(0.0, 0.0), *zip(x.tolist(), y.tolist(), strict=True)]


def _steps(score: Tensor, outlier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thresholds, falling, and how many outliers and normal samples are at or above each: int64."""
    assert not score.isnan().any()
    assert 0 < int(outlier.sum()) < len(outlier)
    values, order = score.sort(descending=True, stable=True)
    last = torch.ones_like(outlier[order])  # of each run of equal scores
    last[:-1] = values[1:] != values[:-1]
    caught = outlier[order].long().cumsum(0)
    false = (~outlier[order]).long().cumsum(0)
    return values[last], caught[last], false[last]
