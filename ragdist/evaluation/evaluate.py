"""One evaluation at once: what the workers have to do together, then what rank 0 does alone."""

from collections.abc import Callable

import torch

from ragdist.evaluation.judged import Judged
from ragdist.evaluation.judging import Evaluation, Judgement
from ragdist.evaluation.yardstick import Yardstick, progress
from ragdist.metrics.dataset import DataSet
from ragdist.metrics.options import EvaluateOptions
from ragdist.world import World


def gather(
    judged: Judged,
    data: DataSet,
    options: EvaluateOptions,
    *,
    held_out: DataSet | None = None,
    world: World | None = None,
    say: Callable[[str], None] = print,
) -> Judgement:
    """Make the samples and bring what is needed of them to rank 0: what the workers have to do together.

    Args:
        judged: the samples.
        data: what they should be distributed as.
        options: as of the command.
        held_out: more data of that kind, which the generator has not seen.
        world: the workers, which must all call; None: this process alone, on the CPU.
        say: told what takes long.

    Raises:
        UserError: there are too few samples or reals for a measure, or a measure does not suit the features.
    """
    world = world or World(0, 1, torch.device("cpu"))
    count = judged.available(options.samples)
    judgement = Judgement(judged, Yardstick(data, options, count, held_out=held_out, world=world, say=say))
    advance = progress(count, "samples") if world.rank == 0 else lambda made: None
    while not judgement.gathered:
        world.alive()
        made = judgement.step()
        if made:
            advance(min(made * world.size, count))
    return judgement


def measure(judgement: Judgement) -> Evaluation | None:
    """Take the measures, which is the work of rank 0 alone; the evaluation, None on other ranks."""
    while judgement.done < judgement.steps:
        judgement.step()
    return judgement.evaluation
