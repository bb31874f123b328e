"""One synchronized step: one reduction of the gradients of all logical workers, the optimizers."""

import torch
from torch import Tensor

from ragdist.config import Config, division
from ragdist.distributed.world import World
from ragdist.tools.errors import UserError
from ragdist.training.batch import Batch
from ragdist.training.gradient_reduction import Reduction
from ragdist.training.schedule import decay
from ragdist.training.state import TrainingState
from ragdist.training.update import ALTERNATING, ONE_PASS, STATISTICS, Update
from ragdist.training.worker_signals import ReducedSignals, SignalReader, WorkerSignals

_NO_SIGNALS = WorkerSignals()
_PAIR_ACCURACY = STATISTICS.index("pair_accuracy")


class TrainingStep:
    """The step of G and D that all workers make together.

    Args:
        config: the run's configuration, checked.
        state: what a step changes.
        world: this worker's place.
        micro_batch: slots that are computed at a time.

    Raises:
        UserError: the batch has no pairing groups.
    """

    def __init__(self, config: Config, state: TrainingState, world: World, micro_batch: int):
        self.config, self.state, self.world = config, state, world
        self.update = Update(
            state.generator,
            state.discriminator,
            config.objective,
            batch_size=config.batch_size,
            precision=config.precision,
            points=state.modality.points,
            augment=state.augmentation.chain,
            compile=config.compile,
        ).to(world.device)
        if config.objective.lam and self.update.group < 2:
            raise UserError(
                f"--batch_size {config.batch_size} has no divisor from 2 to --objective.group "
                f"{config.objective.group}: choose another batch size"
            )
        mixes = state.discriminator.mixes_samples
        self.phases = ALTERNATING if mixes or config.optim.update == "alternating" else ONE_PASS
        count, one_pass = division.logical_workers(config), self.phases == ONE_PASS
        self.reduction = Reduction(self.update, world, count, micro_batch=micro_batch, one_pass=one_pass)
        self.slots = world.slots(config.batch_size, count)
        self.signals = SignalReader(world.device)

    def rehearse(self, batch: Batch) -> None:
        """Compile the kernels of a step on a batch that counts for nothing.

        Raises:
            UserError: a compiler is missing.
        """
        objective = self.config.objective
        always = objective.penalty_every == 1 and objective.at_samples
        try:
            for phase in self.phases:
                self.reduction.rehearse(self._augmented(batch), phase, self.lam(), always)
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
        batch = self._augmented(batch)
        mine = torch.tensor(signals, dtype=torch.float32).to(self.world.device, non_blocking=True)
        report = norms = 0.0
        for phase in self.phases:
            self.update.zero_grad(set_to_none=True)
            self.reduction.backward(batch, phase, lam, penalty, mine)
            part = self.update.report.grad
            said = WorkerSignals(*part[len(STATISTICS) :].unbind())
            norms = norms + state.optimizers.step(phase, part[: len(STATISTICS)], state.seen, said.problem)
            report = report + part
        statistics, said = report.split([len(STATISTICS), len(WorkerSignals._fields)])
        reduced = self.signals.read(said / len(self.phases), state.optimizers.skipped)
        state.augmentation.follow(statistics[_PAIR_ACCURACY], state.optimizers.skip, state.seen)
        if not reduced.signals.problem:  # else this update, on a GPU the one before, did not take place
            state.optimizers.average(state.seen)
            state.seen += self.config.batch_size
        return statistics, norms, penalty, reduced

    def _augmented(self, batch: Batch) -> Batch:
        """The batch with what transforms this update's slots in front of D."""
        return batch._replace(augment=self.state.augmentation.numbers(self.state.seen, self.slots))

    def _penalty_is_due(self) -> bool:
        objective = self.config.objective
        return objective.penalized and self.state.seen // self.config.batch_size % objective.penalty_every == 0

    def lam(self) -> float:
        """The relative term's present weight."""
        objective = self.config.objective
        return objective.lam * decay(objective.lam_schedule, self.state.seen, objective.lam_samples)
