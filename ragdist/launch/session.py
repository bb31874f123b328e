"""What a run prints and writes before and after training, wherever it executes."""

import importlib.util
import json
import os
import shlex
import time
from pathlib import Path

from ragdist import modalities
from ragdist.config import Config, division
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.launch.on_ray.ray_internals import WORKING_DIRECTORIES
from ragdist.runs.folder import RunFolder
from ragdist.storage.files import os_errors_as_user_error, write_whole
from ragdist.storage.store import Store, scheme
from ragdist.tools.errors import UserError
from ragdist.tools.words import counted
from ragdist.training.monitor import Monitor
from ragdist.training.trainer import Outcome, Trainer


def absolute_path(where: str, option: str) -> str:
    """The absolute path of a folder, which every process of a run understands; URLs are returned as they are.

    Raises:
        UserError: a relative path in a Ray job, whose working directory is Ray's and temporary.
    """
    if not where or scheme(where):
        return where
    path = Store(where).local
    if not path.is_absolute() and WORKING_DIRECTORIES in os.getcwd():
        raise UserError(
            f"{option} {where}: in a Ray job that would lie in Ray's temporary copy of the working directory; give an "
            "absolute path that all nodes share, or a URL"
        )
    return str(path.absolute())


def open_data(config: Config) -> Index:
    """Load the index of the run's data; shards are made from their source on first use.

    Raises:
        UserError: no data, or damaged ones.
    """
    if config.data.source and not Path(config.data.path).exists():
        _make_shards(config)
    return index_file.load(config.data.path, config.data.source_options)


def _make_shards(config: Config) -> None:
    from ragdist.config import cli
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards
    from ragdist.modalities import joined_options

    parser = cli.Parser(prog="python -m ragdist.shards")
    parser.add_class_arguments(ShardOptions, None, as_group=False)
    joined_options.of_writing().add_to(parser)
    try:
        values = parser.parse_args(shlex.split(config.data.source_options))
    except (UserError, ValueError) as error:  # ValueError: an open quotation mark
        raise UserError(f"--data.source_options: {error}") from error
    size = {"size": config.data.source_size} if config.data.source_size else {}
    write_shards(config.data.source, config.data.path, cli.build(ShardOptions, values), dict(values.items()) | size)


def notes(config: Config, folder: RunFolder, trainer: Trainer) -> list[str]:
    """Lines about what a continued run was found to hold, with --out in place of a local copy's path."""
    return [line.replace(str(folder.path), config.out) for line in trainer.notes]


def introduction(config: Config, index: Index, trainer: Trainer) -> list[str]:
    """Lines that describe the data, the networks and the objective."""
    count = [sum(p.numel() for p in network.parameters()) for network in (trainer.generator, trainer.discriminator)]
    labels = f", {len(index.classes)} classes" if index.classes else ""
    objective, weight = config.objective, trainer.penalty_weight
    auto = [name.upper() for name in ("r1", "r2") if getattr(objective, name) == "auto"]
    relative = f"{objective.lam:g} x {'relative ' if objective.relative else ''}{objective.pairing}"
    penalty = f"; {' and '.join(auto)} auto: weight {weight:g}" if auto else ""
    lines = [
        f"{config.data.path}: {index.samples:,} samples {list(index.shape)}{labels}",
        f"{config.network.family}: G {count[0]:,} and D {count[1]:,} parameters, {trainer.world.device}, "
        f"{config.precision}; batch {config.batch_size}, {objective.adversarial} with {relative}{penalty}",
        f"{counted(division.logical_workers(config), 'logical worker')} on {counted(trainer.world.size, 'worker')}",
    ]
    if augmentation := str(trainer.state.augmentation):
        lines.append(augmentation)
    if objective.adversarial == "wasserstein" and not objective.penalized:
        lines.append(
            "wasserstein without a gradient penalty: nothing keeps D from growing; give --objective.gp 10 "
            "--objective.penalty_every 1"
        )
    return lines


def already_finished(config: Config, index: Index, summary: dict) -> str:
    """The message for a run that is finished already."""
    seen, units = summary["samples"], modalities.making(index.codec).units
    return f"{config.out} is finished: {seen:,} {units}. To train on: the same command with --samples {2 * seen}"


def finish(folder: RunFolder, monitor: Monitor, outcome: Outcome, bad_samples: int) -> None:
    """Write the closing picture and the summary. Raises UserError where another has the run, or the system refuses."""
    folder.fence()
    summary = {
        "samples": outcome.seen,
        "seconds": round(outcome.seconds, 3),
        "samples_per_second": round(outcome.seen / outcome.seconds, 2),
        "losses": outcome.losses,
        "bad_samples": bad_samples,
        **({"penalty_weight": outcome.penalty_weight} if outcome.penalty_weight else {}),
        "weights_sha256": outcome.weights_sha256,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with os_errors_as_user_error(f"cannot write to {folder.path} (the last checkpoint is kept)"):
        monitor.course()
        write_whole(folder.summary, json.dumps(summary, indent=1) + "\n")


# What TensorBoard reads a URL with, by its scheme: S3 with code of its own on boto3, others through fsspec.
_READS_EVENTS = {"s3": "boto3", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "oss": "ossfs"}


def tensorboard(out: str) -> str:
    """The command that shows a run's curves, and what it needs that is not installed."""
    package = _READS_EVENTS.get(scheme(out) or "")
    missing = package is not None and importlib.util.find_spec(package) is None
    return f"tensorboard --logdir {shlex.quote(out)}" + (f"   (first: pip install {package})" if missing else "")


def closing_words(config: Config, index: Index, outcome: Outcome) -> str:
    """The last line of a run: why it ended, and how to go on."""
    units, picture = modalities.making(index.codec).units, modalities.judging(index.codec).out
    if not outcome.finished and not outcome.seen:
        return "stopped before the first update; the same command starts again"
    if not outcome.finished:
        return (
            f"stopped at {outcome.seen:,} of {config.samples:,} {units}, checkpoint in {config.out}/checkpoints; "
            "the same command continues"
        )
    samples = f"{config.out}/samples"
    return "\n".join(
        [
            f"{outcome.seen:,} {units} in {outcome.seconds:,.0f} s",
            f"run:          {config.out}",
            f"samples:      {samples}/samples-{outcome.seen:012d}.png, and how they came about: {samples}/course.png",
            f"TensorBoard:  {tensorboard(config.out)}",
            f"next:         python -m ragdist.generate {shlex.quote(config.out)} --n 64 --seed 1"
            + (f" --out {picture}" if picture else ""),
        ]
    )
