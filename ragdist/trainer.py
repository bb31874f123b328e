"""The loop: batch, update, monitor, checkpoint.

A run is a pure function of its configuration and data. What goes round is in `Trainer.state`: two
networks, the EMA, two optimizers and a count of images; nothing else, since order and noise are
functions of that count.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ragdist
from ragdist import agreement, checkpoint, compiling, export, memory, sampling, settings
from ragdist.config import Config, flat
from ragdist.data.index import Index
from ragdist.errors import Diverged, Unreachable, UserError
from ragdist.feed import Feed
from ragdist.monitor import GRID_COLUMNS, GRID_ROWS, Monitor
from ragdist.networks import build_discriminator, build_generator
from ragdist.reduce import make_reducer
from ragdist.rundir import RunFolder
from ragdist.schedule import decay
from ragdist.signals import Ear, Heard, Signals
from ragdist.step import Optimizers
from ragdist.update import ALTERNATING, ONE_PASS, STATISTICS, Batch, Update, at_a_time
from ragdist.world import World

_LESS = "try --optim.micro_batch, a smaller --batch_size, or --precision bf16"


class Outcome(NamedTuple):
    """How a call of `Trainer.train` ended."""

    finished: bool  # False: it was asked to stop
    images: int
    seconds: float  # of training, over all starts
    losses: dict[str, float]  # the last reading
    weights_sha256: str  # of the EMA generator


class Trainer:
    """One worker of a run. Rank 0's reads and writes the run's folder; all compute.

    Args:
        config: the run's configuration, checked.
        world: this worker's place.
        index: the data's index.
        folder: the run's folder, claimed.

    Raises:
        UserError: the networks cannot make such samples, the batch does not fit, a checkpoint is of another run.
    """

    def __init__(self, config: Config, world: World, index: Index, folder: RunFolder):
        self.config, self.world, self.index, self.folder = config, world, index, folder
        if config.network.labels and not index.classes:
            raise UserError("--network.labels true: these data have no labels; leave it out")
        self.classes = export.num_classes(asdict(config.network), index.classes)
        self.images, self.seconds, self.losses = 0, 0.0, {}
        self.evaluations = None  # where the run evaluates: see `prepare`
        self.trouble: UserError | None = None  # what keeps this worker from computing
        self.feed = Feed(config, world, index, labels=bool(self.classes))
        self._build()
        self.notes = self._resume()

    def _build(self) -> None:
        config, device = self.config, self.world.device
        network, shape = asdict(config.network), self.index.shape
        try:
            self.generator = build_generator(network, shape, self.classes, seed=config.seed).to(device)
            self.discriminator = build_discriminator(network, shape, self.classes, seed=config.seed).to(device)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.ema = build_generator(network, shape, self.classes, seed=config.seed).to(device).eval()
        self.ema.requires_grad_(False)
        self.update = Update(
            self.generator,
            self.discriminator,
            config.objective,
            batch_size=config.batch_size,
            precision=config.precision,
            world=self.world,
            compile=config.compile,
        ).to(device)
        if config.objective.lam and self.update.group < 2:
            raise UserError(
                f"--batch_size {config.batch_size} has no divisor from 2 to --objective.group "
                f"{config.objective.group}: choose another batch size"
            )
        mixes = self.discriminator.mixes_samples
        self.phases = ALTERNATING if mixes or config.optim.update == "alternating" else ONE_PASS
        self.micro_batch = self._micro_batch()
        self.reducer = make_reducer(self.update, self.world, one_pass=self.phases == ONE_PASS)
        self.ear = Ear(device)
        self.optimizers = Optimizers(
            self.generator, self.discriminator, self.ema, config.optim, batch_size=config.batch_size
        )

    def _micro_batch(self) -> int:
        """Slots computed at a time: whole pairing groups, so that the result does not depend on it."""
        asked, group = self.config.optim.micro_batch, self.update.group
        if not asked:
            together = self.world.size > 1 or self.discriminator.mixes_samples
            return len(self.feed.slots) if together else at_a_time(len(self.feed.slots), group, self.world.device)
        if asked < group:
            raise UserError(
                f"--optim.micro_batch {asked}: a pairing group has {group} slots and is computed whole; "
                f"choose at least {group}, or a smaller --objective.group"
            )
        if self.update.slices.cut:
            raise UserError(
                f"--optim.micro_batch {asked}: with {self.world.size} workers pairing groups of {group} slots lie on "
                f"several of them, which then compute theirs at once; choose a --batch_size that {self.world.size} "
                f"times {group} divides, another number of --workers, or leave --optim.micro_batch out"
            )
        return asked // group * group

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make what the run needs before it begins: compiled networks, what evaluations compare; all workers must call.

        Raises:
            UserError: they are not possible.
        """
        with memory.told(self.world.device, _LESS):
            if self.config.compile:
                self._compile(say)
            if self.config.evaluate_every:
                from ragdist.evaluation.inrun import InRun

                self.evaluations = InRun(self.config, self.world, self.index, self.folder, self.ema, self.images, say)

    def _compile(self, say: Callable[[str], None]) -> None:
        objective, problem = self.config.objective, None
        parts = self.feed.blank().split(self.micro_batch)
        always = objective.penalty_every == 1 and (objective.r1 > 0 or objective.r2 > 0)
        try:
            with compiling.announced(say if self.world.rank == 0 else None):
                for phase in self.phases:
                    self.reducer.rehearse(parts, phase, self._lam(), always)
        except UserError as error:
            problem = error
        self.update.zero_grad(set_to_none=True)
        self._together(problem)  # which also waits for whoever takes longest, as collectives of an update do not

    # The state, and where it is kept.

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.state_dict(),
            "g_optim": self.optimizers.g.state_dict(),
            "d_optim": self.optimizers.d.state_dict(),
            "images": self.images,
            "skipped": self.optimizers.skipped,
        }

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with a run that continues it."""
        return {"data": self.index.digest, "config": flat(self.config, free=False)}

    def _resume(self) -> list[str]:
        """Load the newest whole checkpoint, if there is one; what was found, in lines."""
        notes, where, its, state = checkpoint.load_newest_for_all(self.folder and self.folder.checkpoints, self.world)
        if state is None:
            return notes
        mine = self._identity()
        if its["data"] != mine["data"]:
            raise UserError(
                f"{where} was trained on other data (index {its['data'][:12]}, not {mine['data'][:12]}): "
                "give the --data it was trained on, another --out, or --overwrite"
            )
        its_config = settings.of_today(its["config"], where, its.get("ragdist"))
        if changed := settings.differences(self.config, its_config):
            raise UserError(f"{where} is of another configuration ({'; '.join(changed)}): give --overwrite")
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["ema"])
        self.optimizers.g.load_state_dict(state["g_optim"])
        self.optimizers.d.load_state_dict(state["d_optim"])
        self.optimizers.skipped.copy_(state["skipped"])
        self.images, self.seconds, self.losses = state["images"], its["seconds"], its["losses"]
        self.feed.bad = {(shard, sample): what for shard, sample, what in its["bad"]}
        return [*notes, f"continuing from {where}"]

    def save(self) -> None:
        """Write a checkpoint, and the EMA generator beside it, after a look whether the workers still agree.

        Raises:
            UserError: the disk refuses, or they do not; on all workers.
        """
        self._check(self.ear.flush())
        self._agree()
        self.feed.merge_bad()
        refused = None
        if self.world.rank == 0:
            try:
                self._write()
            except UserError as error:
                refused = error
        self._together(refused)

    def _agree(self) -> None:
        if self.world.size > 1:
            networks = {"g": self.generator, "d": self.discriminator, "ema": self.ema}
            weights = {f"{name}.{k}": v for name, network in networks.items() for k, v in network.state_dict().items()}
            agreement.check(self.world, export.weights_sha256(weights), self.images)

    def _together(self, problem: UserError | None) -> None:
        """Raise on all workers what one of them met."""
        said = self.world.gather([str(problem), isinstance(problem, Unreachable)] if problem else None)
        for text, passing in filter(None, said):
            raise (Unreachable if passing else UserError)(text)

    def _write(self) -> None:
        self.folder.before_saving()
        meta = {
            **self._identity(),
            "images": self.images,
            "seconds": self.seconds,
            "losses": self.losses,
            "bad": [[*place, what] for place, what in self.feed.bad.items()],
            "world_size": self.world.size,
            "torch": torch.__version__,
            "ragdist": ragdist.__version__,
        }
        keep, spared = self.config.checkpoint.keep, self.folder.spared
        checkpoint.save(self.folder.checkpoints, self.images, self.state(), meta, keep=keep, spared=spared)
        self.export()
        self.folder.saved()

    def export(self) -> None:
        export.save(self.folder.generator, self.ema, asdict(self.config.network), self.index, self.images)

    # The loop.

    @property
    def finished(self) -> bool:
        return self.images >= self.config.images

    def train(self, monitor: Monitor | None, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Train until the configured number of images is seen, or a worker's ``stop()`` after an update.

        Args:
            monitor: shows it; on rank 0 alone.
            stop: asked on each worker; all end after the same update, on a GPU one later.

        Raises:
            Diverged: too many updates are not finite; on all workers.
            UserError: a sample is damaged, the disk refuses; on all workers.
        """
        assert (monitor is not None) == (self.world.rank == 0)
        if monitor and self.evaluations:
            self.evaluations.say, self.evaluations.shown = monitor.say, monitor.evaluated
        with self.feed.ahead(lambda: self.images), memory.told(self.world.device, _LESS):
            return self._train(monitor, stop)

    def _train(self, monitor: Monitor | None, stop: Callable[[], bool]) -> Outcome:
        config = self.config
        batches = iter(self.feed.batches(self.images))
        say = monitor.say if monitor else print
        clock = time.perf_counter()
        if monitor:
            self.folder.summary.unlink(missing_ok=True)  # of a run that is being extended
            if not self.images and monitor.has_pictures:
                monitor.grid(0, self._samples())
        evaluations = self.evaluations
        if evaluations:
            evaluations.start()
        stopped = self.world.size == 1 and stop()
        while not self.finished and not stopped:
            waiting = time.perf_counter()
            slots = next(batches)
            self.trouble = self.trouble or self.feed.problem(slots, say)
            if self.trouble and self.world.size == 1:
                self.seconds += time.perf_counter() - clock
                self.save()
                raise self.trouble
            wait = time.perf_counter() - waiting
            before = self.images
            wanted = bool(monitor and evaluations and evaluations.wanted())
            signals = Signals(bool(stop()), self.trouble is not None, len(self.feed.new_bad), wanted)
            statistics, norms, penalty, heard = self.step(self.feed.to_device(slots), signals)
            self._check(heard)
            if monitor:
                reading = monitor.update(
                    self.images,
                    statistics,
                    norms,
                    batch=config.batch_size,
                    penalty=penalty,
                    wait=wait,
                    now=lambda heard=heard: {
                        "lam": self._lam(),
                        "skipped": self.optimizers.skipped.item(),
                        "bad_samples": len(self.feed.bad) + heard.signals.bad_samples,
                        **({"evaluation_share": evaluations.spent / evaluations.elapsed} if evaluations else {}),
                    },
                )
                if reading:
                    self.losses = {name: reading[name] for name in ("loss_g", "loss_d", "relative_distance")}
                if monitor.grid_due(before, self.images):
                    monitor.grid(self.images, self._samples())
            stopped = heard.signals.stop > 0
            due = self.images // config.checkpoint.every > before // config.checkpoint.every or self.finished
            if evaluations and not self.finished:
                due |= evaluations.follow(self.images, self.ema, go_on=heard.signals.evaluate > 0)
            if due:
                self.seconds, clock = self.seconds + time.perf_counter() - clock, time.perf_counter()
                self.save()
        self.seconds += time.perf_counter() - clock
        if not self.finished:
            self.save()
        elif evaluations:
            evaluations.conclude(self.images, self.ema)
        if monitor:
            self.export()  # again: a kill may have come between the last checkpoint and this
        sha256 = export.weights_sha256(self.ema.state_dict())
        return Outcome(self.finished, self.images, self.seconds, self.losses, sha256)

    def step(self, batch: Batch, signals: Signals = Signals()) -> tuple[Tensor, Tensor, bool, Heard]:  # noqa: B008
        """One update of G and D.

        Returns:
            `update.STATISTICS` of all workers; gradient norms [2]; whether the penalties were due; what the
            workers said.
        """
        objective = self.config.objective
        lam = self._lam()
        penalty = (objective.r1 > 0 or objective.r2 > 0) and (
            self.images // self.config.batch_size % objective.penalty_every == 0
        )
        mine = torch.tensor(signals, dtype=torch.float32).to(self.world.device, non_blocking=True)
        report = norms = 0.0
        for phase in self.phases:
            self.update.zero_grad(set_to_none=True)
            self.reducer.backward(batch.split(self.micro_batch), phase, lam, penalty, mine)
            part = self.update.report.grad
            said = Signals(*part[len(STATISTICS) :].unbind())
            norms = norms + self.optimizers.step(phase, part[: len(STATISTICS)], self.images, said.problem)
            report = report + part
        self.optimizers.average(self.images)
        self.images += self.config.batch_size
        statistics, said = report.split([len(STATISTICS), len(Signals._fields)])
        return statistics, norms, penalty, self.ear.hear(said / len(self.phases), self.optimizers.skipped)

    def _lam(self) -> float:
        objective = self.config.objective
        return objective.lam * decay(objective.lam_schedule, self.images, objective.lam_images)

    def _check(self, heard: Heard) -> None:
        """Raise, on all workers alike, what ends the run."""
        if heard.signals.problem:  # the update was not applied; the last checkpoint is kept
            self._together(self.trouble)
        count = len(self.feed.bad) + round(heard.signals.bad_samples)
        if self.world.size > 1 and count > self.feed.most_bad:
            last = list((self.feed.bad | self.feed.new_bad).values())[-1:]
            self._together(self.feed.too_many_bad(last[0], count) if last else None)
        if heard.skipped > self.config.optim.max_skipped:
            raise Diverged(
                f"{heard.skipped:.0f} updates were skipped because a loss or gradient was not finite "
                f"(--optim.max_skipped {self.config.optim.max_skipped}); the last checkpoint is kept. Start anew with "
                "lower --optim.g_lr and --optim.d_lr, higher --objective.r1 and --objective.r2, or --precision fp32"
            )

    def _samples(self) -> Tensor:
        return torch.cat(list(sampling.sample(self.ema, self.config.seed, GRID_COLUMNS * GRID_ROWS)))
