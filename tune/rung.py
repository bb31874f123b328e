"""The work of a trial between two rungs: train the run of each seed on, and evaluate it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ragdist.config import world_size
from ragdist.tools.errors import Diverged, Unreachable, UserError
from tune import train_here, train_on_workers
from tune.folder import SearchFolder
from tune.plan import Plan
from tune.space import varied

_PATIENCE = 60.0  # seconds in which a process of an earlier start, which was killed, lets go of a run


@dataclass
class RungResult:
    """The outcome of a trial's work: at a rung, or before it."""

    seen: int
    values: list[float] = field(default_factory=list)  # the metric of each seed
    seconds: float = 0.0
    diverged: str = ""
    refused: str = ""  # a mistake, or something that lacks
    interrupted: bool = False


def advance(
    plan: Plan,
    place: SearchFolder,
    number: int,
    evaluate: Callable[[Path], float],
    *,
    device: torch.device,
    environment: Callable[[], dict[str, str]] = dict,
    stop: Callable[[], bool] = lambda: False,
) -> RungResult:
    """Advance a trial from where its record says it is to its next rung.

    Args:
        plan: the search's plan.
        place: its folder.
        number: the trial's.
        evaluate: gives the metric of a run.
        device: where this process computes.
        environment: gives what a driver needs to join the cluster, for --workers_per_trial.
        stop: asked while it trains.
    """
    began = time.monotonic()
    trial = place.read_one(place.trial(number) / "trial.json")
    seen = next(seen for seen in plan.rungs if seen > trial.seen)
    result = RungResult(seen)
    try:
        for seed in range(plan.options.seeds):
            run = place.run(number, seed)
            config = plan.trial_config(trial.options, seed, run, seen)
            if world_size.parse(config.workers).in_process:
                if device.type == "cpu":  # its one core may as well read
                    config = varied(config, {"data.loader_workers": 0})
                there = _patient(lambda c=config: train_here.train(c, device, stop, last=seen >= plan.budget), stop)
            else:
                there = train_on_workers.train(config, environment(), stop)
            if not there:
                result.interrupted = True
                return result
            result.values.append(evaluate(run))
    except Diverged as error:
        result.diverged = str(error).partition(";")[0]  # the rest is advice for a single run
    except UserError as error:
        result.refused = str(error)
    result.seconds = round(time.monotonic() - began, 3)
    return result


def _patient(train: Callable[[], bool], stop: Callable[[], bool]) -> bool:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return train()
        except Unreachable:
            if stop() or time.monotonic() > end:
                raise
            time.sleep(0.5)
