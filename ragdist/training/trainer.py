"""The loop: batch, update, monitor, checkpoint.

A run is a pure function of its configuration and data. What goes round is in `state.TrainingState`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ragdist import modalities
from ragdist.config import Config, division
from ragdist.data.index import Index
from ragdist.data.reader import Slots
from ragdist.distributed import agreement
from ragdist.distributed.world import World
from ragdist.generation import generator_file, sampling
from ragdist.runs.folder import RunFolder
from ragdist.storage.files import os_errors_as_user_error
from ragdist.tools import memory
from ragdist.tools.errors import Diverged, UserError
from ragdist.tools.threads import Threads, direct
from ragdist.training import circumstances, compiling, penalty_scale, transfer_source
from ragdist.training.dataloader import TrainingLoader
from ragdist.training.monitor import GRID_COLUMNS, GRID_ROWS, Monitor
from ragdist.training.state import TrainingState
from ragdist.training.step import TrainingStep
from ragdist.training.worker_signals import ReducedSignals, WorkerSignals

_LESS = "try --optim.micro_batch, a smaller --batch_size, or --precision bf16"


class Outcome(NamedTuple):
    """The outcome of `Trainer.train`."""

    finished: bool  # False: it was asked to stop
    seen: int
    seconds: float  # of training, over all starts
    losses: dict[str, float]  # the last reading
    weights_sha256: str  # of the EMA generator
    penalty_weight: float | None = None  # that R1 or R2 has, where it was left to the data


class Trainer:
    """The training of one worker. Rank 0 reads and writes the run's folder; all compute.

    Args:
        config: the run's configuration, checked.
        world: this worker's place.
        index: the data's index.
        folder: the run's folder, leased.

    Raises:
        UserError: the networks cannot make such samples, the batch does not fit, a checkpoint is of another run, what
            it starts from does not fit.
    """

    def __init__(self, config: Config, world: World, index: Index, folder: RunFolder):
        self.config, self.world, self.index, self.folder = config, world, index, folder
        self.state = TrainingState(config, index, world.device)
        self.generator, self.discriminator = self.state.generator, self.state.discriminator
        self.ema, self.optimizers = self.state.ema, self.state.optimizers
        self.seconds, self.losses = 0.0, {}
        self.evaluations = None  # where the run evaluates: see `prepare`
        self.local_error: UserError | None = None  # what keeps this worker from computing
        self.loader = TrainingLoader(config, world, index, labels=bool(self.state.classes))
        self.notes, meta = self.state.resume(folder, world)
        if meta is None and config.init_from:
            self.notes += transfer_source.start(self.state, world)
        # Where the options name none it is chosen once, by the device on which a run starts.
        chosen = 0 if config.optim.micro_batch or not meta else meta.get("micro_batch", 0)
        micro_batch = chosen or division.micro_batch(config, cpu=world.device.type == "cpu")
        self.circumstances = circumstances.circumstances(config, world.device, micro_batch)
        self.notes += circumstances.on_all(world, self.circumstances)
        self.penalty_weight = self._penalty_weight(meta)
        config = penalty_scale.applied(config, self.penalty_weight) if self.penalty_weight else config
        self.step = TrainingStep(config, self.state, world, micro_batch)
        # Where evaluations compute: their figures do not depend on the number of threads.
        self._alone = Threads(1).call if world.device.type == "cpu" else direct
        self._saved = self.seen  # what is there: a checkpoint, or a run of which nothing is worth one
        if meta:
            self.notes += circumstances.notes(self.circumstances, meta)
            self.seconds, self.losses = meta["seconds"], meta["losses"]
            self.loader.bad = {(shard, sample): what for shard, sample, what in meta["bad"]}

    def _penalty_weight(self, meta: dict[str, Any] | None) -> float | None:
        """The weight of R1 or R2, where it is left to the data: measured once, and then as the run says."""
        if not penalty_scale.is_wanted(self.config):
            return None
        return meta["penalty_weight"] if meta else penalty_scale.measured(self.config, self.world, self.loader)

    @property
    def seen(self) -> int:
        """Samples seen."""
        return self.state.seen

    def prepare(self, say: Callable[[str], None]) -> None:
        """Prepare for training: compile the networks, set up evaluations; all workers must call.

        Raises:
            UserError: they are not possible.
        """
        with memory.oom_as_user_error(self.world.device, _LESS):
            if self.config.compile:
                self._compile(say)
            if self.config.evaluate_every:
                from ragdist.evaluation.during_training import EvaluationDuringTraining

                self.evaluations = EvaluationDuringTraining(
                    self.config, self.world, self.index, self.folder, self.ema, self.seen, say, self._alone
                )

    def _compile(self, say: Callable[[str], None]) -> None:
        blank, problem = self.loader.blank(), None
        try:
            with compiling.announced(say if self.world.rank == 0 else None):
                self.step.rehearse(blank)
        except UserError as error:
            problem = error
        # Which also waits for whoever takes longest, as collectives of an update do not.
        agreement.raise_on_all(self.world, problem)

    # Checkpoints.

    def save(self) -> None:
        """Write a checkpoint, and the EMA generator beside it, after a check that the workers agree.

        Raises:
            UserError: the disk refuses, or they do not; on all workers.
        """
        self._check(self.step.signals.flush())
        self._save()

    def _save(self) -> None:
        if self._saved == self.seen:
            return
        if self.world.size > 1:
            units = modalities.making(self.index.codec).units
            agreement.check(self.world, self.state.weights_sha256(), f"{self.seen:,} {units}")
        self.loader.merge_bad()
        agreement.write(self.world, lambda: self.state.save(self.folder, self._meta()), "cannot write a checkpoint")
        self._saved = self.seen

    def _meta(self) -> dict[str, Any]:
        """Facts for a checkpoint's meta.json, beside the identity of the run."""
        return {
            "seconds": self.seconds,
            "losses": self.losses,
            "bad": [[*place, what] for place, what in self.loader.bad.items()],
            "world_size": self.world.size,
            **({"penalty_weight": self.penalty_weight} if self.penalty_weight else {}),
            **self.circumstances,
        }

    # The loop.

    @property
    def finished(self) -> bool:
        return self.seen >= self.config.samples

    def train(self, monitor: Monitor | None, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Train until the configured number of samples is seen, or until a worker's ``stop()`` is true.

        Args:
            monitor: shows it; on rank 0 alone.
            stop: asked on each worker; all end after the same update, on a GPU one later.

        Raises:
            Diverged: too many updates are not finite; on all workers.
            UserError: a sample is damaged, the disk refuses; on all workers.
        """
        assert (monitor is not None) == (self.world.rank == 0)
        if monitor and self.evaluations:
            self.evaluations.say, self.evaluations.log = monitor.say, monitor.evaluated
        with self.loader.prefetcher(lambda: self.seen), memory.oom_as_user_error(self.world.device, _LESS):
            return self._train(monitor, stop)

    def _train(self, monitor: Monitor | None, stop: Callable[[], bool]) -> Outcome:
        self._clock = time.perf_counter()
        with closing(self.loader.batches(self.seen, monitor.say if monitor else print)) as batches:
            self._begin(monitor)
            stopped = self.world.size == 1 and stop()
            while not self.finished and not stopped:
                before = self.seen
                reduced = self._train_on(batches, monitor, stop)
                stopped = reduced.signals.stop > 0
                if self._save_is_due(before, evaluate=reduced.signals.evaluate > 0):
                    self._count_seconds()
                    self.save()
        self._count_seconds()
        self._end(monitor)
        sha256 = generator_file.weights_sha256(self.ema.state_dict())
        return Outcome(self.finished, self.seen, self.seconds, self.losses, sha256, self.penalty_weight)

    def _begin(self, monitor: Monitor | None) -> None:
        if monitor:
            with self._showing():
                self.folder.summary.unlink(missing_ok=True)  # of a run that is being extended
                if not self.seen:
                    monitor.grid(0, self._samples())
        agreement.raise_on_all(self.world, self.local_error)
        if self.evaluations:
            self.evaluations.start()

    def _end(self, monitor: Monitor | None) -> None:
        if not self.finished:
            self.save()
        agreement.raise_on_all(self.world, self.local_error)
        if self.finished and self.evaluations:
            self.evaluations.conclude(self.seen, self.ema)
        # Again: a kill may have come between the last checkpoint and this.
        agreement.write(self.world, lambda: self.state.export(self.folder), "cannot write the generator")

    @contextmanager
    def _showing(self) -> Iterator[None]:
        """Keep what the system refuses to write in this context, on rank 0, for all workers to learn of."""
        try:
            with os_errors_as_user_error(f"cannot write to {self.config.out}"):
                yield
        except UserError as error:
            self.local_error = self.local_error or error

    def _train_on(self, batches: Iterator, monitor: Monitor | None, stop: Callable[[], bool]) -> ReducedSignals:
        """Take the next batch, update, log; the reduced signals of the update."""
        before, began = self.seen, time.perf_counter()
        slots = self.local_error or self._next(batches)
        self._note_error(slots, monitor)
        wait = time.perf_counter() - began
        evaluate = bool(monitor and self.evaluations and self.evaluations.wanted())
        signals = WorkerSignals(bool(stop()), self.local_error is not None, len(self.loader.new_bad), evaluate)
        statistics, norms, penalty, reduced = self.step(self.loader.to_device(slots, self.seen), signals)
        self._check(reduced)
        if monitor:
            with self._showing():
                bad_samples = reduced.signals.bad_samples
                self._log(monitor, statistics, norms, penalty=penalty, wait=wait, bad_samples=bad_samples)
                if monitor.grid_due(before, self.seen):
                    monitor.grid(self.seen, self._samples())
        return reduced

    def _next(self, batches: Iterator) -> Slots | UserError:
        """The next batch. Whatever else than a UserError keeps it away is raised, once what was trained is saved."""
        try:
            return next(batches)
        except Exception:
            if self.world.size == 1:
                self._count_seconds()
                self.save()
            raise

    def _note_error(self, slots: Slots | UserError, monitor: Monitor | None) -> None:
        """Keep the error of a batch for all workers to learn of; without others, save and raise it."""
        self.local_error = self.local_error or self.loader.problem(slots, monitor.say if monitor else print)
        if self.local_error and self.world.size == 1:
            self._count_seconds()
            self.save()
            raise self.local_error

    def _log(
        self, monitor: Monitor, statistics: Tensor, norms: Tensor, *, penalty: bool, wait: float, bad_samples: float
    ) -> None:
        evaluations = self.evaluations

        def now() -> dict[str, float]:
            share = {"evaluation_share": evaluations.spent / evaluations.elapsed} if evaluations else {}
            bad = len(self.loader.bad) + bad_samples
            augmentation = self.state.augmentation
            if augmentation.chain:
                share["augment_p"] = augmentation.strength(self.seen).item()
            return {"lam": self.step.lam(), "skipped": self.optimizers.skipped.item(), "bad_samples": bad, **share}

        batch = self.config.batch_size
        reading = monitor.update(self.seen, statistics, norms, batch=batch, penalty=penalty, wait=wait, now=now)
        if reading:
            self.losses = {name: reading[name] for name in ("loss_g", "loss_d", "relative_distance")}

    def _save_is_due(self, before: int, *, evaluate: bool) -> bool:
        """Take part in evaluations after an update; whether a checkpoint is due."""
        every = self.config.checkpoint.every
        due = self.seen // every > before // every or self.finished
        if self.evaluations and not self.finished:
            due |= self.evaluations.follow(self.seen, self.ema, go_on=evaluate)
        return due

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    def _check(self, reduced: ReducedSignals) -> None:
        """Raise, on all workers alike, the error that ends the run."""
        if reduced.signals.problem:  # the update was not applied
            if self.world.device.type == "cpu":  # on a GPU it is known an update late: the last checkpoint is kept
                self._count_seconds()
                self._save()
            agreement.raise_on_all(self.world, self.local_error)
        count = len(self.loader.bad) + round(reduced.signals.bad_samples)
        if self.world.size > 1 and count > self.loader.most_bad:
            last = list((self.loader.bad | self.loader.new_bad).values())[-1:]
            agreement.raise_on_all(self.world, self.loader.too_many_bad(last[0], count) if last else None)
        if reduced.skipped > self.config.optim.max_skipped:
            raise Diverged(
                f"{reduced.skipped:.0f} updates were skipped because a loss or gradient was not finite "
                f"(--optim.max_skipped {self.config.optim.max_skipped}); the last checkpoint is kept. Start anew with "
                "lower --optim.g_lr and --optim.d_lr, higher --objective.r1 and --objective.r2, or --precision fp32"
            )

    def _samples(self) -> Tensor:
        return torch.cat(list(sampling.sample(self.ema, self.config.seed, GRID_COLUMNS * GRID_ROWS)))
