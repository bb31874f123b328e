"""Evaluations during training: a copy of the EMA generator, in steps between updates, for a share of the time.

A step is a batch of samples on each worker, the joining of the workers' parts, or a measure on rank 0. Whether one
follows an update is rank 0's decision, which goes to all with the update's gradients; so no process and no collective
is added to the training, and all ranks take the same steps. The last generator is evaluated at once.
"""

import copy
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ragdist import modalities
from ragdist.config import Config, identity, migrations
from ragdist.config.evaluation import EvaluateOptions, best_by, figures_to_rank_by
from ragdist.data.index import Index
from ragdist.distributed.world import World
from ragdist.evaluation.reference import Reference, progress
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.report import history
from ragdist.evaluation.samples import GeneratorSamples
from ragdist.evaluation.steps import EvaluationSteps
from ragdist.generation import generator_file
from ragdist.metrics import MEASURES, classes
from ragdist.networks.base import Generator
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.tools.errors import UserError


class EvaluationDuringTraining:
    """Evaluations of a run's EMA generator during training, and the best one. Rank 0 prints and writes.

    Args:
        config: the run's configuration.
        world: the workers.
        index: the data set's index.
        folder: the run's folder, on rank 0.
        ema: the EMA generator, which is copied when an evaluation begins.
        seen: samples seen so far.
        say: prints a line.
        call: calls a function that computes, where figures do not depend on the number of threads.

    Raises:
        UserError: such evaluations are not possible; on all ranks.
    """

    def __init__(
        self, config: Config, world: World, index: Index, folder: RunFolder, ema: Generator, seen: int,
        say: Callable[[str], None], call: Callable[[Callable[[], Any]], Any],
    ):  # fmt: skip
        self.config, self.world, self.index, self.folder, self.say = config, world, index, folder, say
        self._call = call
        self.log: Callable[[int, dict[str, Any]], None] = lambda seen, figures: None
        options = asdict(config.evaluate)
        self.best_by, self.share = options.pop("best"), options.pop("share")
        options = EvaluateOptions(**options)
        data = DataSet(config.data.path, Path(config.data.cache).expanduser(), config.data.cache_gb)
        measure, self.better = world.decide(self._ranking)
        self.code = MEASURES.code(measure)  # of others, that measures the figure
        self.reference = Reference(data, options, options.samples, world=world, say=say, option="--evaluate.")
        if measure not in self.reference.names:
            raise UserError(
                f"--evaluate.best {self.best_by} needs the measure {measure}, and --evaluate.metrics {options.metrics} "
                f"gives {', '.join(self.reference.names)}"
            )
        self.shares = None
        if ema.num_classes:
            counts = classes.class_counts(data.labels, len(index.classes)) if world.rank == 0 else None
            self.shares = torch.tensor(world.gather(None if counts is None else counts.tolist())[0]).numpy()
        self.units = modalities.making(index.codec).units
        self.generator = copy.deepcopy(ema).requires_grad_(False)
        self.evaluation_steps: EvaluationSteps | None = None
        self.seen = 0  # of the generator that is evaluated
        self.failed = False
        self.spent = 0.0  # seconds, of the training's
        self._longest = 0.0  # step
        self._began = time.perf_counter()
        self._look_back(seen)

    def _ranking(self) -> tuple[str, str]:
        """The measure that gives the figure of --evaluate.best, and which is better: "less" or "more"."""
        if not (found := best_by(self.best_by)):
            there = ", ".join(figures_to_rank_by())
            raise UserError(f"--evaluate.best {self.best_by}: there is no such figure; there are: {there}")
        return found

    def _look_back(self, seen: int) -> None:
        """Find what an earlier start left: the best generator, and checkpoints not yet evaluated."""
        self.best: dict[str, Any] | None = None
        missing: list[int] = []
        if self.world.rank == 0:
            self.key = history.protocol_key(self.reference.protocol())
            best = generator_file.about(self.folder.best).get("evaluation")
            if best and (best["figure"], best["protocol"]) == (self.best_by, self._best_key):
                self.best = migrations.RECORDS.migrated(best, str(self.folder.best))
            there = sorted({checkpoint.seen_at(path) for path in checkpoint.listed(self.folder.checkpoints)})
            missing = [n for n in there if n <= seen and self.due(n) and not self._known(n)]
        self.missing = deque(self.world.gather(missing)[0])
        self._protect()

    def _known(self, seen: int) -> bool:
        rows = history.read_lines(self.folder.evaluations)
        rows = [row for row in rows if (row.get("samples"), row.get("protocol")) == (seen, self.key)]
        return any(history.code_of(row, self.best_by) == self.code for row in rows)

    @property
    def _best_key(self) -> str:
        """Figures that share it may be ranked: the protocol, and whose code measures."""
        return " ".join(filter(None, (self.key, self.code)))

    def due(self, seen: int) -> bool:
        """Whether an evaluation falls to the update that ends with so many samples."""
        every = self.config.evaluate_every
        return seen // every > (seen - self.config.batch_size) // every

    def start(self) -> None:
        """Start the clock of the training."""
        self._began, self.spent = time.perf_counter(), 0.0

    @property
    def busy(self) -> bool:
        """Whether an evaluation is under way; equal on all ranks."""
        return self.evaluation_steps is not None

    @property
    def elapsed(self) -> float:
        """Seconds of the training since this start, evaluations included."""
        return time.perf_counter() - self._began

    def wanted(self) -> bool:
        """Whether a step is due and within evaluations' share of the time; rank 0 decides."""
        if not (self.busy or self.missing):
            return False
        return self.share == 1 or self.spent + self._longest <= self.share * self.elapsed

    def begin(self, seen: int, weights: dict[str, torch.Tensor]) -> None:
        """Begin to evaluate a copy of the generator after so many samples; all ranks must call."""
        began = time.perf_counter()
        self.seen, self.failed = seen, False
        self.generator.load_state_dict(weights)
        sha256 = generator_file.weights_sha256(weights) if self.world.rank == 0 else ""
        about = {"samples": seen, "weights_sha256": sha256, "codec": self.index.codec}
        form = modalities.comparable(self.index.codec, self.index.form)
        about |= {"sample_shape": form.shape, "spec": form.spec}
        exported = generator_file.Exported(self.generator, about)
        samples = GeneratorSamples(exported, Path(self.config.out), self.reference.options.seed, self.shares)
        self.evaluation_steps = EvaluationSteps(samples, self.reference)
        self._protect()
        self.spent += time.perf_counter() - began

    def follow(self, seen: int, ema: Generator, *, go_on: bool) -> bool:
        """Take a step, or begin an evaluation, after an update; all ranks must call.

        Args:
            seen: samples seen so far.
            ema: the generator as it is now.
            go_on: whether a step of the evaluation under way is to be taken: rank 0 decides.

        Returns:
            Whether an evaluation began, which wants a checkpoint beside it.
        """
        if go_on:
            self.step()
        if not self.due(seen):
            return False
        if not self.busy:
            self.begin(seen, ema.state_dict())
            return True
        if self.world.rank == 0:
            self.say(
                f"no evaluation after {seen:,} {self.units}: that of {self.seen:,} is under way "
                f"(--evaluate.share {self.share:g} of the time)"
            )
        return False

    def step(self) -> None:
        """Take a step of the evaluation; all ranks must call. A failure is printed, and the run goes on."""
        if not (self.busy or self.missing):  # on a GPU the decision to go on comes an update late
            return
        began = self._clock()
        if not self.busy:
            self._begin_missing()
        else:
            try:
                if not self.failed:
                    self._call(self.evaluation_steps.step)
                    self._finished()
                else:
                    self.evaluation_steps.done += 1
            except Exception as error:
                self._give_up(error)
            if self.evaluation_steps.done >= self.evaluation_steps.steps:
                self.evaluation_steps = None
                self._protect()
        seconds = self._clock() - began
        self.spent += seconds
        self._longest = max(self._longest, seconds)

    def _clock(self) -> float:
        if self.world.device.type == "cuda":  # else a step would seem to take what the update before it takes
            torch.cuda.synchronize(self.world.device)
        return time.perf_counter()

    def _begin_missing(self) -> None:
        seen = self.missing.popleft()
        weights = self._weights_of(seen)
        if weights:
            self.begin(seen, weights)

    def _weights_of(self, seen: int) -> dict[str, torch.Tensor] | None:
        """Load the EMA generator of a checkpoint on rank 0 and broadcast it; None where it is gone."""
        path = checkpoint.path_of(self.folder.checkpoints, seen) if self.world.rank == 0 else None
        return checkpoint.load_for_all(path, self.world, "ema")

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        if self.world.rank == 0:
            what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.say(f"the evaluation after {self.seen:,} {self.units} failed, and the run goes on: {what}")

    def _finished(self) -> None:
        """Write the figures, and keep the generator if it is the best; on rank 0, after the last step."""
        found = self.evaluation_steps.evaluation
        if found is None:
            return
        self.folder.fence()
        rows = history.remember(self.folder.path, found, run=self.folder.path)
        figures = next(row["figures"] for row in rows if row["samples"] == self.seen)
        value = figures[self.best_by]
        improved = value is not None and self._improves(value)
        if improved:
            self.best = {"figure": self.best_by, "value": value, "protocol": self._best_key, "samples": self.seen}
            about = {"evaluation": self.best, **identity.code_of(self.config, self.index.packages)}
            network = asdict(self.config.network)
            generator_file.save(self.folder.best, self.generator, network, self.index, self.seen, **about)
        self.log(self.seen, figures)
        few = {name: figure for name, figure in figures.items() if best_by(name) and figure is not None}
        words = ", ".join(f"{name} {figure:.4g}" for name, figure in few.items())
        if improved:
            words += f"; the best {self.best_by} so far"
        elif self.best:
            words += f"; the best was {self.best['value']:.4g}, after {self.best['samples']:,} {self.units}"
        self.say(f"evaluation after {self.seen:,} {self.units}: {words}")

    def _improves(self, value: float) -> bool:
        if self.best is None or self.best["samples"] == self.seen:
            return True
        return value < self.best["value"] if self.better == "less" else value > self.best["value"]

    def _protect(self) -> None:
        """Protect the best checkpoint, and those that wait for their evaluation, from pruning."""
        if self.world.rank == 0:
            kept = {*self.missing, *([self.seen] if self.busy else []), *([self.best["samples"]] if self.best else [])}
            self.folder.protected = frozenset(kept)

    def conclude(self, seen: int, ema: Generator) -> None:
        """Finish pending evaluations, then evaluate the last generator; all ranks must call, after the training."""
        while self.busy or self.missing:
            self._run_through()
        known = self.world.gather(self.world.rank == 0 and self._known(seen))[0]
        if not known:
            self.begin(seen, ema.state_dict())
            self._run_through()

    def _run_through(self) -> None:
        if not self.busy:
            self.step()
        if not self.busy:
            return
        left = self.evaluation_steps.steps - self.evaluation_steps.done
        advance = progress(left, "steps") if self.world.rank == 0 else lambda count: None
        if self.world.rank == 0:
            self.say(f"evaluating the generator after {self.seen:,} {self.units}")
        while self.busy:
            self.step()
            advance(1)
