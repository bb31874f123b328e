"""Where a run executes: in this process."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ragdist.config import Config
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.files import explain, write_whole
from ragdist.memory import keep_freed_memory
from ragdist.monitor import Monitor
from ragdist.rundir import RunFolder
from ragdist.trainer import Outcome, Trainer
from ragdist.world import World, pick_device


def launch(config: Config, *, overwrite: bool = False) -> int:
    """Run the configured training to its end, or until Ctrl-C; the exit code.

    Raises:
        UserError: see the parts.
    """
    device = pick_device(config.device, deterministic=config.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    folder = RunFolder(config.out)
    folder.claim(config, overwrite=overwrite)
    index = open_data(config)
    trainer = Trainer(config, World(0, 1, device), index, folder)
    for line in trainer.notes:
        print(line)
    if trainer.finished and folder.summary.is_file():
        print(
            f"{folder.path} is finished: {trainer.images:,} images. To train on: the same command with "
            f"--images {2 * trainer.images}"
        )
        return 0
    print(introduction(config, index, trainer), flush=True)
    with explain(f"cannot write to {folder.path} (the last checkpoint is kept)"):
        monitor = Monitor(config, folder, index, trainer.images)
        with closing(monitor), stop_on_signal() as stop:
            outcome = trainer.train(monitor, stop)
            if outcome.finished:
                finish(folder, monitor, outcome, len(trainer.bad))
    print(closing_words(config, folder, outcome))
    return 0 if outcome.finished else 130


def open_data(config: Config) -> Index:
    """The index of the run's data, made from its source on first use.

    Raises:
        UserError: no data, or damaged ones.
    """
    path, source = config.data.path, config.data.source
    if source and not Path(path).exists():
        from ragdist.data.options import ShardOptions
        from ragdist.data.writer import write_shards

        write_shards(source, path, ShardOptions(size=config.data.source_size))
    return index_file.load(path)


def introduction(config: Config, index: Index, trainer: Trainer) -> str:
    count = [sum(p.numel() for p in network.parameters()) for network in (trainer.generator, trainer.discriminator)]
    labels = f", {len(index.classes)} classes" if index.classes else ""
    return (
        f"{config.data.path}: {index.samples:,} samples {list(index.shape)}{labels}\n"
        f"{config.network.family}: G {count[0]:,} and D {count[1]:,} parameters, {trainer.world.device}, "
        f"{config.precision}; batch {config.batch_size}, {config.objective.adversarial} with "
        f"{config.objective.lam:g} x {'relative ' if config.objective.relative else ''}{config.objective.pairing}"
    )


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """A question whether to stop: yes after the first Ctrl-C or SIGTERM. The second one ends at once."""
    asked = []

    def ask(number: int, frame) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish(folder: RunFolder, monitor: Monitor, outcome: Outcome, bad_samples: int) -> None:
    """Write the closing picture and the summary."""
    monitor.course()
    summary = {
        "images": outcome.images,
        "seconds": round(outcome.seconds, 3),
        "images_per_second": round(outcome.images / outcome.seconds, 2),
        "losses": outcome.losses,
        "bad_samples": bad_samples,
        "weights_sha256": outcome.weights_sha256,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_whole(folder.summary, json.dumps(summary, indent=1) + "\n")


def closing_words(config: Config, folder: RunFolder, outcome: Outcome) -> str:
    if not outcome.finished:
        return (
            f"stopped at {outcome.images:,} of {config.images:,} images, checkpoint in {folder.checkpoints}; "
            "the same command continues"
        )
    newest = max(folder.samples.glob("images-*.png"), default=folder.samples)
    return "\n".join(
        [
            f"{outcome.images:,} images in {outcome.seconds:,.0f} s",
            f"run:          {folder.path}",
            f"samples:      {newest}, and how they came about: {folder.samples / 'course.png'}",
            f"TensorBoard:  tensorboard --logdir {folder.path}",
            f"next:         python -m ragdist.generate {folder.path} --n 64 --seed 1 --out grid.png",
        ]
    )
