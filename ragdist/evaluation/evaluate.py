"""One evaluation at once, from what is judged and the data to the result."""

from collections.abc import Callable

import torch

from ragdist.evaluation.judged import Judged
from ragdist.evaluation.judging import Evaluation, Judgement
from ragdist.evaluation.yardstick import Yardstick, progress
from ragdist.metrics.dataset import DataSet
from ragdist.metrics.options import EvaluateOptions
from ragdist.world import World


def evaluate(
    judged: Judged,
    data: DataSet,
    options: EvaluateOptions,
    *,
    held_out: DataSet | None = None,
    device: torch.device | str = "cpu",
    world: World | None = None,
    say: Callable[[str], None] = print,
) -> Evaluation | None:
    """Judge samples by the data.

    Args:
        judged: the samples.
        data: what they should be distributed as.
        options: as of the command.
        held_out: more data of that kind, which the generator has not seen.
        device: of the features' networks.
        world: the workers, which must all call; None: this process alone.
        say: told what takes long.

    Returns:
        The evaluation, on rank 0; None on others.

    Raises:
        UserError: there are too few samples or reals for a measure, or a measure does not suit the features.
    """
    device = torch.device(device)
    world = world or World(0, 1, device)
    count = judged.available(options.samples)
    yardstick = Yardstick(data, options, count, held_out=held_out, device=device, world=world, say=say)
    judgement = Judgement(judged, yardstick)
    advance = progress(count, "samples") if world.rank == 0 else lambda made: None
    for _ in range(judgement.steps):
        made = judgement.step()
        if made:
            advance(min(made * world.size, count))
    return judgement.evaluation
