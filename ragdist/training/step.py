"""One synchronized step: micro-batches, one reduction of the gradients over all workers, the optimizers."""

import torch
from torch import Tensor

from ragdist.config import Config
from ragdist.distributed.world import World
from ragdist.tools.errors import UserError
from ragdist.training.batch import Batch, at_a_time
from ragdist.training.gradient_reduction import make_reducer
from ragdist.training.schedule import decay
from ragdist.training.state import TrainingState
from ragdist.training.update import ALTERNATING, ONE_PASS, STATISTICS, Update
from ragdist.training.worker_signals import ReducedSignals, SignalReader, WorkerSignals

_NO_SIGNALS = WorkerSignals()


class TrainingStep:
    """The step of G and D that all workers make together.

    Args:
        config: the run's configuration, checked.
        state: what a step changes.
        world: this worker's place.
        slots: of the global batch that are this worker's.

    Raises:
        UserError: the batch has no pairing groups, or they do not fit the micro-batches.
    """

    def __init__(self, config: Config, state: TrainingState, world: World, slots: int):
        self.config, self.state, self.world, self.slots = config, state, world, slots
        self.update = Update(
            state.generator,
            state.discriminator,
            config.objective,
            batch_size=config.batch_size,
            precision=config.precision,
            world=world,
            points=state.modality.points,
            compile=config.compile,
        ).to(world.device)
        if config.objective.lam and self.update.group < 2:
            raise UserError(
                f"--batch_size {config.batch_size} has no divisor from 2 to --objective.group "
                f"{config.objective.group}: choose another batch size"
            )
        self.mixes = state.discriminator.mixes_samples
        self.phases = ALTERNATING if self.mixes or config.optim.update == "alternating" else ONE_PASS
        self.micro_batch = self._micro_batch()
        self.reducer = make_reducer(self.update, world, one_pass=self.phases == ONE_PASS)
        self.signals = SignalReader(world.device)

    def _micro_batch(self) -> int:
        """Slots computed at a time: whole pairing groups, so that the result does not depend on it."""
        asked, group = self.config.optim.micro_batch, self.update.group
        if not asked:
            together = self.world.size > 1 or self.mixes
            return self.slots if together else at_a_time(self.slots, group, self.world.device)
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

    def rehearse(self, batch: Batch) -> None:
        """Compile the kernels of a step on a batch that counts for nothing.

        Raises:
            UserError: a compiler is missing.
        """
        objective = self.config.objective
        always = objective.penalty_every == 1 and (objective.r1 > 0 or objective.r2 > 0)
        try:
            for phase in self.phases:
                self.reducer.rehearse(batch.split(self.micro_batch), phase, self.lam(), always)
        finally:
            self.update.zero_grad(set_to_none=True)

    def __call__(
        self, batch: Batch, signals: WorkerSignals = _NO_SIGNALS
    ) -> tuple[Tensor, Tensor, bool, ReducedSignals]:
        """One update of G and D.

        Args:
            batch: this worker's slots.
            signals: what this worker has to say to all.

        Returns:
            `update.STATISTICS` of all workers; gradient norms [2]; whether the penalties were due; what the
            workers said.
        """
        state, lam, penalty = self.state, self.lam(), self._penalty_is_due()
        mine = torch.tensor(signals, dtype=torch.float32).to(self.world.device, non_blocking=True)
        report = norms = 0.0
        for phase in self.phases:
            self.update.zero_grad(set_to_none=True)
            self.reducer.backward(batch.split(self.micro_batch), phase, lam, penalty, mine)
            part = self.update.report.grad
            said = WorkerSignals(*part[len(STATISTICS) :].unbind())
            norms = norms + state.optimizers.step(phase, part[: len(STATISTICS)], state.seen, said.problem)
            report = report + part
        statistics, said = report.split([len(STATISTICS), len(WorkerSignals._fields)])
        reduced = self.signals.read(said / len(self.phases), state.optimizers.skipped)
        if not reduced.signals.problem:  # else this update, on a GPU the one before, did not take place
            state.optimizers.average(state.seen)
            state.seen += self.config.batch_size
        return statistics, norms, penalty, reduced

    def _penalty_is_due(self) -> bool:
        objective = self.config.objective
        return (objective.r1 > 0 or objective.r2 > 0) and (
            self.state.seen // self.config.batch_size % objective.penalty_every == 0
        )

    def lam(self) -> float:
        """The relative term's present weight."""
        objective = self.config.objective
        return objective.lam * decay(objective.lam_schedule, self.state.seen, objective.lam_samples)
