"""A run in this process."""

from contextlib import closing

from ragdist.config import Config
from ragdist.distributed.world import World, pick_device
from ragdist.launch.session import already_finished, closing_words, finish, introduction, notes, open_data
from ragdist.runs.open import run_at
from ragdist.tools.memory import keep_freed_memory
from ragdist.tools.stop_signal import StopOnSignal
from ragdist.training import compiling
from ragdist.training.monitor import Monitor
from ragdist.training.trainer import Trainer


def run(config: Config, *, overwrite: bool) -> int:
    """Train to the end, or until Ctrl-C; the exit code.

    Raises:
        UserError: a mistake that the user can mend: damaged data, a folder in use, no such device.
    """
    device = pick_device(config.device, **config.kernels)
    if device.type == "cpu":
        keep_freed_memory()
    if config.compile:
        compiling.check(device)
    place = run_at(config.out)
    index = open_data(config)
    with place.leased(config, overwrite=overwrite) as lease, place.opened(config, lease.token) as folder:
        folder.fences.append(lease.check)
        trainer = Trainer(config, World(0, 1, device), index, folder)
        for line in notes(config, folder, trainer):
            print(line)
        if trainer.finished and (summary := place.summary()):
            print(already_finished(config, index, summary))
            return 0
        print(*introduction(config, index, trainer), sep="\n", flush=True)
        trainer.prepare(lambda text: print(text, flush=True))
        monitor = Monitor(config, folder, index, trainer.seen)
        with closing(monitor), StopOnSignal() as stop:
            outcome = trainer.train(monitor, lambda: stop() or lease.lost)
            if outcome.finished:
                finish(folder, monitor, outcome, len(trainer.loader.bad))
    print(closing_words(config, index, outcome))
    return 0 if outcome.finished else 130
