"""Importance of options: the share of the metric's variance that a random forest ascribes to each (fANOVA)."""

from collections.abc import Sequence

from tune import folder
from tune.folder import Trial
from tune.space import Axis

LEAST = 6  # trials, below which it would be chance


def importance(
    axes: Sequence[Axis], trials: Sequence[Trial], rungs: Sequence[int], sign: int
) -> tuple[dict[str, float], int, int]:
    """Importance by option, samples after which metrics were taken, and trials counted; none where these are too few.

    It is taken where most is known: at the last rung that half of the trials came to.
    """
    inside = [trial for trial in trials if all(axis.holds(trial.options[axis.name]) for axis in axes)]
    for seen in reversed(rungs):
        there = [trial for trial in inside if trial.at(seen)]
        if len(there) >= max(LEAST, len(inside) / 2):
            shares = _fanova(axes, there, seen, sign) if len(axes) > 1 else {}
            return shares, seen, len(there)
    return {}, 0, 0


def _fanova(axes: Sequence[Axis], trials: Sequence[Trial], seen: int, sign: int) -> dict[str, float]:
    import optuna

    from tune.propose import study_of

    then = [Trial(trial.number, trial.name, trial.options, folder.FINISHED, rungs=[trial.at(seen)]) for trial in trials]
    study, _ = study_of(axes, then, sign)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (RuntimeError, ValueError):  # all values are equal
        return {}
