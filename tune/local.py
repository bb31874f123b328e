"""A trial's run in this process."""

from collections.abc import Callable
from contextlib import closing

import torch

from ragdist.config import Config
from ragdist.files import explain
from ragdist.monitor import Monitor
from ragdist.runplace import place_of
from ragdist.session import finish, open_data
from ragdist.trainer import Trainer
from ragdist.world import World


class _Silent:
    """A progress that nobody watches."""

    def advance(self, count: int) -> None: ...

    def describe(self, text: str = "") -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


def train(config: Config, device: torch.device, stop: Callable[[], bool], *, last: bool) -> bool:
    """Train a run, or go on with it, to ``config.images``; whether it got there.

    Args:
        config: of the run.
        device: where it computes.
        stop: asked after each update; a run that stops writes a checkpoint.
        last: whether the run ends there.

    Raises:
        Diverged: too many updates were not finite.
        Unreachable: another process uses the run's folder.
        UserError: see the parts.
    """
    place = place_of(config.out)
    index = open_data(config)
    with place.claimed(config, overwrite=False) as claim, place.opened(config) as folder:
        folder.fence = claim.check
        trainer = Trainer(config, World(0, 1, device), index, folder)
        if trainer.finished and folder.generator.is_file() and (folder.summary.is_file() or not last):
            return True
        with explain(f"cannot write to {config.out} (the last checkpoint is kept)"):
            monitor = Monitor(config, folder, index, trainer.images, progress=_Silent())
            with closing(monitor):
                outcome = trainer.train(monitor, stop)
                if outcome.finished and last:
                    finish(folder, monitor, outcome, len(trainer.feed.bad))
    return outcome.finished
