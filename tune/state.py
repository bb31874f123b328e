"""The state of a search: the next trial, and what becomes of each; every step is on disk before the next.

Nothing here knows how trials are executed.
"""

import math
import statistics
from typing import Any

from tune import folder, halving, metrics, propose
from tune.folder import ENDED, Rung, SearchFolder, Trial
from tune.plan import Plan


class SearchState:
    """The state of one search, from what its folder holds.

    Args:
        plan: what is searched.
        place: its folder, locked; the trials there are this plan's.
    """

    def __init__(self, plan: Plan, place: SearchFolder):
        self.plan, self.folder = plan, place
        self.units = "samples"  # what they are called in messages: the modality's word, once the data are read
        self.sign = metrics.sign(plan.options.metric)
        self.trials = {trial.number: trial for trial in place.read()}
        self.baselines = plan.baselines()
        self._points = self._grid()
        self._waiting = [trial for trial in self.trials.values() if trial.state not in ENDED]

    @property
    def total(self) -> int:
        """The number of trials."""
        if self._points is not None:
            return len(self.baselines) + len(self._points)
        return max(self.plan.options.trials, len(self.baselines))

    @property
    def left(self) -> int:
        """The number of trials that have not ended."""
        return max(self.total - sum(trial.state in ENDED for trial in self.trials.values()), 0)

    def _grid(self) -> list[dict[str, Any]] | None:
        if self.plan.options.search != "grid":
            return None
        return propose.grid(self.plan.axes, self.plan.options.trials - len(self.baselines))

    def next(self) -> Trial | None:
        """Take the next trial to begin or continue; None: all were begun."""
        if self._waiting:
            trial = self._waiting.pop(0)
            trial.state, trial.reason = folder.RUNNING, ""
        elif (number := self._free_number()) >= self.total:
            return None
        else:
            name, options = self._new(number)
            trial = self.trials[number] = Trial(number, name, options)
        self.folder.write(trial)
        return trial

    def _free_number(self) -> int:
        return next(number for number in range(len(self.trials) + 1) if number not in self.trials)

    def _new(self, number: int) -> tuple[str, dict[str, Any]]:
        if number < len(self.baselines):
            return self.baselines[number]
        if self._points is not None:
            return "", self._points[number - len(self.baselines)]
        options = self.plan.options
        seed = self.plan.config.seed
        known = list(self.trials.values())
        return "", propose.propose(options.search, self.plan.axes, known, number, seed=seed, sign=self.sign)

    def record(self, number: int, seen: int, values: list[float], seconds: float) -> bool:
        """Record a trial's values at a rung; whether it goes on from there."""
        trial = self.trials[number]
        others = [rung.value for other in self.trials.values() if other is not trial and (rung := other.at(seen))]
        value = statistics.median(values)
        if not math.isfinite(value):
            self.diverged(number, f"its {self.plan.options.metric} after {seen:,} {self.units} is not finite")
            return False
        trial.rungs.append(Rung(seen, value, values, seconds))
        if seen >= self.plan.budget:
            trial.state = folder.FINISHED
        elif self.plan.options.scheduler == "asha" and not trial.name and not halving.goes_on(value, others, self.sign):
            trial.state = folder.STOPPED
        self.folder.write(trial)
        return trial.state == folder.RUNNING

    def diverged(self, number: int, reason: str) -> None:
        """Record that a trial diverged, which ends it."""
        self._end(number, folder.DIVERGED, reason)

    def crashed(self, number: int, reason: str) -> None:
        """Record that a trial's process died or failed, which ends it."""
        self._end(number, folder.CRASHED, reason)

    def _end(self, number: int, state: str, reason: str) -> None:
        trial = self.trials[number]
        trial.state, trial.reason = state, reason
        self.folder.write(trial)
