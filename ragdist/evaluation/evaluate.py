"""An evaluation from start to end: samples on all workers, then measures on rank 0."""

from collections.abc import Callable

import torch

from ragdist.config.evaluation import EvaluateOptions
from ragdist.distributed.world import World
from ragdist.evaluation.reference import Reference, progress
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.samples import Samples
from ragdist.evaluation.steps import Evaluation, EvaluationSteps


def gather(
    samples: Samples,
    data: DataSet,
    options: EvaluateOptions,
    *,
    held_out: DataSet | None = None,
    world: World | None = None,
    say: Callable[[str], None] = print,
) -> EvaluationSteps:
    """Make the samples on all workers and bring what measures need to rank 0.

    Args:
        samples: the samples to evaluate.
        data: the reference data.
        options: the options of `ragdist.evaluate`.
        held_out: data of that kind that the generator has not seen; None: there are none.
        world: the workers, which must all call; None: this process alone, on the CPU.
        say: prints a line about what takes long.

    Raises:
        UserError: there are too few samples or reals for a measure, or a measure does not suit the features.
    """
    world = world or World(0, 1, torch.device("cpu"))
    count = samples.available(options.samples)
    steps = EvaluationSteps(samples, Reference(data, options, count, held_out=held_out, world=world, say=say))
    advance = progress(count, "samples") if world.rank == 0 else lambda made: None
    while not steps.gathered:
        world.alive()
        made = steps.step()
        if made:
            advance(min(made * world.size, count))
    return steps


def measure(steps: EvaluationSteps) -> Evaluation | None:
    """Take the measures on rank 0; the evaluation, None on other ranks."""
    while steps.done < steps.steps:
        steps.step()
    return steps.evaluation
