"""Proposals of configurations: pure functions of a search's plan and of its results so far.

Nothing is kept between proposals, so a search that was interrupted goes on as if it had not been.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ragdist.tools.errors import UserError
from tune import folder
from tune.folder import Trial
from tune.space import Axis

_INFORMED_AFTER = 6  # trials of chance before TPE proposes


def propose(kind: str, axes: Sequence[Axis], trials: Sequence[Trial], number: int, *, seed: int, sign: int) -> dict:
    """The options of trial ``number``.

    Args:
        kind: optuna or random.
        axes: what varies.
        trials: all that were begun, of which those without a result count as being tried.
        number: of the trial.
        seed: of the search.
        sign: 1 if more of the metric is better, -1 if less is.
    """
    if kind == "optuna":
        return _optuna(axes, trials, number, seed=seed, sign=sign)
    shares = np.random.default_rng([seed, number]).random(len(axes))
    return {axis.name: axis.at(float(share)) for axis, share in zip(axes, shares, strict=True)}


def grid(axes: Sequence[Axis], room: int) -> list[dict[str, Any]]:
    """The finest grid of at most ``room`` points, with as many values on each range.

    Raises:
        UserError: not even two values a range have room.
    """
    points: list[dict[str, Any]] = []
    for count in range(2, room + 1):
        values = [axis.grid(count) for axis in axes]
        size = int(np.prod([len(v) for v in values]))
        if size > room:
            break
        finer = [dict(zip([a.name for a in axes], point, strict=True)) for point in itertools.product(*values)]
        if len(finer) == len(points):
            break
        points = finer
    if not points:
        least = int(np.prod([len(axis.grid(2)) for axis in axes]))
        raise UserError(f"--search grid has at least {least} points beside the baselines: give more --trials")
    return points


def _optuna(axes: Sequence[Axis], trials: Sequence[Trial], number: int, *, seed: int, sign: int) -> dict[str, Any]:
    study, distributions = study_of(axes, trials, sign)
    import optuna

    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=_INFORMED_AFTER,
        multivariate=True,
        constant_liar=True,  # trials that are being tried count as bad, so that others look elsewhere
        seed=int(np.random.default_rng([seed, number]).integers(2**31)),
    )
    return study.ask(distributions).params


def study_of(axes: Sequence[Axis], trials: Sequence[Trial], sign: int):
    """Optuna's study of what is known, and its distributions by name.

    Trials with values outside of the space, as λ = 0 is on a logarithmic axis, are left out.
    """
    import warnings

    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    distributions = {axis.name: _distribution(axis) for axis in axes}
    study = optuna.create_study(direction="maximize" if sign > 0 else "minimize")
    for trial in trials:
        if not all(axis.name in trial.options and axis.holds(trial.options[axis.name]) for axis in axes):
            continue
        common = {"params": {axis.name: trial.options[axis.name] for axis in axes}, "distributions": distributions}
        if trial.state == folder.FINISHED:
            study.add_trial(create_trial(value=trial.value, **common))
        elif trial.state == folder.STOPPED:
            values = {rung.samples: rung.value for rung in trial.rungs}
            study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values=values, **common))
        elif trial.state == folder.DIVERGED:  # as bad as can be, and known to be
            study.add_trial(create_trial(value=-sign * float("inf"), **common))
        elif trial.state == folder.RUNNING:
            study.add_trial(create_trial(state=TrialState.RUNNING, **common))
    return study, distributions


def _distribution(axis: Axis):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(axis.choices)
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")
