"""The ranking of a search's trials."""

from tune import folder
from tune.folder import Trial
from tune.state import SearchState


def ranked(search: SearchState) -> list[Trial]:
    """Trials that got the whole budget, the best first."""
    finished = [trial for trial in search.trials.values() if trial.state == folder.FINISHED]
    return sorted(finished, key=lambda trial: (-search.sign * trial.value, trial.number))
