"""The loop: batch, update, monitor, checkpoint.

A run is a pure function of its configuration and data. What goes round is in `Trainer.state`: two
networks, the EMA, two optimizers and a count of images; nothing else, since order and noise are
functions of that count.
"""

import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ragdist import checkpoint, export, sampling
from ragdist.config import Config, flat
from ragdist.data.ahead import Ahead
from ragdist.data.cache import Cache
from ragdist.data.codecs import CODECS
from ragdist.data.index import Index
from ragdist.data.order import Order
from ragdist.data.reader import OPEN_SHARDS, ShardReader, SlotDataset, Slots, Updates, make_loader
from ragdist.data.shardfiles import ShardFiles
from ragdist.errors import UserError
from ragdist.monitor import GRID_COLUMNS, GRID_ROWS, Monitor
from ragdist.networks import build_discriminator, build_generator
from ragdist.reduce import make_reducer
from ragdist.rundir import RunFolder
from ragdist.schedule import decay
from ragdist.signals import Ear, Heard, Signals
from ragdist.step import Optimizers
from ragdist.update import ALTERNATING, ONE_PASS, STATISTICS, Batch, Update
from ragdist.world import World


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
        self.codec = CODECS[index.codec]
        self.slots = world.slots(config.batch_size)
        if config.network.labels and not index.classes:
            raise UserError("--network.labels true: these data have no labels; leave it out")
        if config.data.crop_padding >= min(index.shape[1:], default=1):
            raise UserError(
                f"--data.crop_padding {config.data.crop_padding}: samples of {list(index.shape)} allow less"
            )
        if world.size > config.batch_size:
            raise UserError(
                f"--batch_size {config.batch_size} is too small for {world.size} workers: each computes at least one "
                "sample; choose a larger batch, or fewer --workers"
            )
        if config.batch_size > index.samples:
            raise UserError(
                f"--batch_size {config.batch_size}: the data hold {index.samples} samples and a batch takes each "
                "at most once; choose a smaller batch"
            )
        self.classes = export.num_classes(asdict(config.network), index.classes)
        self.images, self.seconds, self.losses = 0, 0.0, {}
        # Samples that could not be read, and what was said of them: all workers' until the last checkpoint, and
        # what this one found since.
        self.bad: dict[tuple[int, int], str] = {}
        self.new_bad: dict[tuple[int, int], str] = {}
        self.trouble: UserError | None = None  # what keeps this worker from computing
        self._build_data()
        self._build()
        self.notes = self._resume()

    def _build_data(self) -> None:
        data, index = self.config.data, self.index
        counts = [shard.samples for shard in index.shards]
        self.order = Order(counts, index.digest, self.config.seed, data.lanes, data.window)
        self.cache_bytes = int(data.cache_gb * 1e9)
        self.files = ShardFiles(data.path, index, Cache(os.path.expanduser(data.cache), self.cache_bytes))
        in_use = min(self.order.shards_in_use * max(shard.bytes for shard in index.shards), index.bytes)
        if in_use > 0.8 * self.cache_bytes and any(map(self.files.remote, range(len(counts)))):
            raise UserError(
                f"--data.cache_gb {data.cache_gb:g}: the shards that are read side by side take {in_use / 1e9:.2g} GB; "
                f"choose at least {in_use / 0.8e9:.2g}, or a smaller --data.window"
            )

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
            return len(self.slots)
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
        notes, where, its, state = self._find()
        if state is None:
            return notes
        mine = self._identity()
        if its["data"] != mine["data"]:
            raise UserError(
                f"{where} was trained on other data (index {its['data'][:12]}, not {mine['data'][:12]}): "
                "give the --data it was trained on, another --out, or --overwrite"
            )
        if its["config"] != mine["config"]:
            keys = [key for key, value in mine["config"].items() if its["config"].get(key) != value]
            raise UserError(f"{where} is of another configuration ({', '.join(keys)}): give --overwrite")
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["ema"])
        self.optimizers.g.load_state_dict(state["g_optim"])
        self.optimizers.d.load_state_dict(state["d_optim"])
        self.optimizers.skipped.copy_(state["skipped"])
        self.images, self.seconds, self.losses = state["images"], its["seconds"], its["losses"]
        self.bad = {(shard, sample): what for shard, sample, what in its["bad"]}
        return [*notes, f"continuing from {where}"]

    def _find(self) -> tuple[list[str], str, dict[str, Any], dict[str, Any] | None]:
        """Notes, path, meta and state of the checkpoint to go on from: rank 0 reads it for all workers.

        Raises:
            UserError: none is whole; on all workers.
        """
        packed = None
        if self.world.rank == 0:
            try:
                found, broken = checkpoint.load_newest(self.folder.checkpoints, self.world.device)
                about = {"notes": [f"skipped a broken checkpoint, {line}" for line in broken]}
                if found:
                    about |= {"where": str(found.path), "meta": found.meta}
            except UserError as error:
                found, about = None, {"error": str(error)}
            if self.world.size == 1 and found:
                return about["notes"], about["where"], found.meta, found.state
            tensors = io.BytesIO()
            if found:
                torch.save(found.state, tensors)
            head = json.dumps(about).encode()
            packed = len(head).to_bytes(8, "little") + head + tensors.getvalue()
        packed = self.world.broadcast(packed)
        size = int.from_bytes(packed[:8], "little")
        about, tensors = json.loads(packed[8 : 8 + size]), packed[8 + size :]
        if "error" in about:
            raise UserError(about["error"])
        if not tensors:
            return about["notes"], "", {}, None
        state = torch.load(io.BytesIO(tensors), map_location=self.world.device, weights_only=True)
        return about["notes"], about["where"], about["meta"], state

    def save(self) -> None:
        """Write a checkpoint, and the EMA generator beside it, after a look whether the workers still agree.

        Raises:
            UserError: the disk refuses; on all workers.
        """
        weights = {"g." + k: v for k, v in self.generator.state_dict().items()}
        weights |= {"d." + k: v for k, v in self.discriminator.state_dict().items()}
        said = self.world.gather(
            {
                "bad": [[*place, what] for place, what in self.new_bad.items()],
                "weights": export.weights_sha256(weights) if self.world.size > 1 else "",
            }
        )
        assert len({each["weights"] for each in said}) == 1, f"the workers' weights differ: {said}"
        self.bad |= {(shard, sample): what for each in said for shard, sample, what in each["bad"]}
        self.new_bad = {}
        refused = None
        if self.world.rank == 0:
            try:
                self._write()
            except UserError as error:
                refused = str(error)
        self._together(refused)

    def _together(self, problem: str | None) -> None:
        """Raise on all workers what one of them met."""
        problems = [text for text in self.world.gather(problem) if text]
        if problems:
            raise UserError(problems[0])

    def _write(self) -> None:
        meta = {
            **self._identity(),
            "images": self.images,
            "seconds": self.seconds,
            "losses": self.losses,
            "bad": [[*place, what] for place, what in self.bad.items()],
            "world_size": self.world.size,
            "torch": torch.__version__,
        }
        checkpoint.save(self.folder.checkpoints, self.images, self.state(), meta, keep=self.config.checkpoint.keep)
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
            UserError: a sample is damaged, the disk refuses, or too many updates are not finite; on all workers.
        """
        assert (monitor is not None) == (self.world.rank == 0)
        with self._ahead():
            return self._train(monitor, stop)

    def _train(self, monitor: Monitor | None, stop: Callable[[], bool]) -> Outcome:
        config = self.config
        batches = iter(self._loader())
        clock = time.perf_counter()
        if monitor:
            self.folder.summary.unlink(missing_ok=True)  # of a run that is being extended
            if not self.images and monitor.has_pictures:
                monitor.grid(0, self._samples())
        stopped = self.world.size == 1 and stop()
        while not self.finished and not stopped:
            waiting = time.perf_counter()
            slots = next(batches)
            self.trouble = self.trouble or self._problem(slots, monitor)
            if self.trouble and self.world.size == 1:
                self.seconds += time.perf_counter() - clock
                self.save()
                raise self.trouble
            wait = time.perf_counter() - waiting
            before = self.images
            signals = Signals(bool(stop()), self.trouble is not None, len(self.new_bad))
            statistics, norms, penalty, heard = self.step(self._to_device(slots), signals)
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
                        "bad_samples": len(self.bad) + heard.signals.bad_samples,
                    },
                )
                if reading:
                    self.losses = {name: reading[name] for name in ("loss_g", "loss_d", "relative_distance")}
                if monitor.grid_due(before, self.images):
                    monitor.grid(self.images, self._samples())
            stopped = heard.signals.stop > 0
            if self.images // config.checkpoint.every > before // config.checkpoint.every or self.finished:
                self.seconds, clock = self.seconds + time.perf_counter() - clock, time.perf_counter()
                self.save()
        self.seconds += time.perf_counter() - clock
        if not self.finished:
            self.save()
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

    def _ahead(self) -> Ahead:
        return Ahead(
            self.files,
            self.order,
            self.config.batch_size,
            self.slots,
            lambda: self.images,
            stop=self.config.images,
            reach=int(0.8 * self.cache_bytes) // self.world.local_size,
        )

    def _loader(self):
        data = self.config.data
        dataset = SlotDataset(
            ShardReader(self.files, min(OPEN_SHARDS, 2 * self.order.shards_in_use)),
            self.order,
            self.config.seed,
            self.config.network.z_dim,
            self.config.batch_size,
            self.slots,
            data.crop_padding,
            data.flip,
        )
        return make_loader(
            dataset,
            Updates(self.images, self.config.images, self.config.batch_size),
            workers=data.loader_workers,
            prefetch=data.prefetch,
            pin=self.world.device.type == "cuda",
        )

    def _problem(self, slots: Slots | UserError, monitor: Monitor | None) -> UserError | None:
        """What keeps this worker from the update, if anything: data that cannot be had, or too many bad samples."""
        if isinstance(slots, UserError):
            return slots
        known = self.bad | self.new_bad
        new = {(bad.shard, bad.sample): str(bad) for bad in slots.bad if (bad.shard, bad.sample) not in known}
        if new and len(known) + len(new) > self._most_bad:  # they stay uncounted: the data may be mended
            return self._too_many_bad(list(new.values())[-1], len(known) + len(new))
        for what in new.values():
            line = f"bad sample, replaced by the next of its shard: {what}"
            monitor.say(line) if monitor else print(line, flush=True)
        self.new_bad |= new
        return None

    @property
    def _most_bad(self) -> int:
        return int(self.config.data.max_bad * self.index.samples)

    def _too_many_bad(self, last: str, count: int) -> UserError:
        return UserError(
            f"{last}; with it {count} of {self.index.samples:,} samples cannot be read, and "
            f"--data.max_bad {self.config.data.max_bad:g} allows {self._most_bad:,}. `python -m ragdist.shards check "
            f"{self.config.data.path}` lists them all; copy or write their shards again"
        )

    def _check(self, heard: Heard) -> None:
        """Raise, on all workers alike, what ends the run."""
        if heard.signals.problem:  # the update was not applied; the last checkpoint is kept
            self._together(str(self.trouble) if self.trouble else None)
        count = len(self.bad) + int(heard.signals.bad_samples)
        if self.world.size > 1 and count > self._most_bad:
            last = list(self.new_bad.values())[-1:]
            self._together(str(self._too_many_bad(last[0], count)) if last else None)
        if heard.skipped > self.config.optim.max_skipped:
            raise UserError(
                f"{heard.skipped:.0f} updates were skipped because a loss or gradient was not finite "
                f"(--optim.max_skipped {self.config.optim.max_skipped}); the last checkpoint is kept. Start anew with "
                "lower --optim.g_lr and --optim.d_lr, higher --objective.r1 and --objective.r2, or --precision fp32"
            )

    def _to_device(self, slots: Slots | UserError) -> Batch:
        device = self.world.device
        if isinstance(slots, UserError):  # zeros keep the reduction company: the others must not wait for it
            zeros = torch.zeros(len(self.slots), *self.index.shape, device=device)
            z = zeros.new_zeros(len(zeros), self.config.network.z_dim)
            return Batch(z, zeros, torch.zeros(len(zeros), dtype=torch.int64, device=device) if self.classes else None)
        samples, labels, z = (part.to(device, non_blocking=True) for part in slots[:3])
        return Batch(z, self.codec.normalize(samples), labels if self.classes else None)

    def _samples(self) -> Tensor:
        return torch.cat(list(sampling.sample(self.ema, self.config.seed, GRID_COLUMNS * GRID_ROWS)))
