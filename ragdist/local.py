"""A run in this process."""

from contextlib import closing

from ragdist import compiling
from ragdist.config import Config
from ragdist.files import explain
from ragdist.memory import keep_freed_memory
from ragdist.monitor import Monitor
from ragdist.runplace import place_of
from ragdist.session import already_finished, closing_words, finish, introduction, notes, open_data
from ragdist.stopping import StopOnSignal
from ragdist.trainer import Trainer
from ragdist.world import World, pick_device


def run(config: Config, *, overwrite: bool) -> int:
    """Train to the end, or until Ctrl-C; the exit code.

    Raises:
        UserError: see the parts.
    """
    device = pick_device(config.device, **config.kernels)
    if device.type == "cpu":
        keep_freed_memory()
    if config.compile:
        compiling.check(device)
    place = place_of(config.out)
    index = open_data(config)
    with place.claimed(config, overwrite=overwrite) as claim, place.opened(config) as folder:
        folder.fence = claim.check
        trainer = Trainer(config, World(0, 1, device), index, folder)
        for line in notes(config, folder, trainer):
            print(line)
        if trainer.finished and (summary := place.summary()):
            print(already_finished(config, summary))
            return 0
        print(*introduction(config, index, trainer), sep="\n", flush=True)
        trainer.prepare(lambda text: print(text, flush=True))
        with explain(f"cannot write to {config.out} (the last checkpoint is kept)"):
            monitor = Monitor(config, folder, index, trainer.images)
            with closing(monitor), StopOnSignal() as stop:
                outcome = trainer.train(monitor, lambda: stop() or claim.lost)
                if outcome.finished:
                    finish(folder, monitor, outcome, len(trainer.feed.bad))
    print(closing_words(config, outcome))
    return 0 if outcome.finished else 130
