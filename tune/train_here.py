"""A trial's run in this process."""

from collections.abc import Callable
from contextlib import closing

import torch

from ragdist.config import Config
from ragdist.distributed.world import World
from ragdist.launch.session import finish, open_data
from ragdist.runs.open import run_at
from ragdist.training.monitor import Monitor
from ragdist.training.trainer import Trainer


class _Silent:
    """A progress that shows nothing."""

    def advance(self, count: int) -> None: ...

    def describe(self, text: str = "") -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


def train(config: Config, device: torch.device, stop: Callable[[], bool], *, last: bool) -> bool:
    """Train a run, or continue it, to ``config.samples``; whether it got there.

    Args:
        config: the run's configuration.
        device: where it computes.
        stop: asked after each update; a run that stops writes a checkpoint.
        last: whether the run ends there.

    Raises:
        Diverged: too many updates were not finite.
        Unreachable: another process uses the run's folder.
        UserError: a mistake that the user can mend: damaged data, a folder in use, no such device.
    """
    place = run_at(config.out)
    index = open_data(config)
    with place.leased(config, overwrite=False) as lease, place.opened(config, lease.token) as folder:
        folder.fences.append(lease.check)
        trainer = Trainer(config, World(0, 1, device), index, folder)
        if trainer.finished and folder.generator.is_file() and (folder.summary.is_file() or not last):
            return True
        monitor = Monitor(config, folder, index, trainer.seen, progress=_Silent())
        with closing(monitor):
            outcome = trainer.train(monitor, stop)
            if outcome.finished and last:
                finish(folder, monitor, outcome, len(trainer.loader.bad))
    return outcome.finished
