"""The weight of R1 and R2 that suits the data: `--objective.r1 auto`.

A gradient penalty times its weight is compared with a loss, which has no unit, so that the weight has that of a
squared distance between samples: twice the size in pixels, or three channels in place of one, want four and three times
the weight. Here it is a share of half the mean squared distance between two samples, which is the sum of
their values' variances. Measured once, of the samples that a run sees first; a checkpoint's meta.json keeps it.
"""

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from ragdist.config import Config
from ragdist.distributed import agreement
from ragdist.distributed.world import World
from ragdist.tools.errors import UserError
from ragdist.training.dataloader import TrainingLoader

SHARE = 0.014  # docs/architecture.md has what this is against weights that were found by hand
SAMPLES = 1024  # that are measured, where there are as many: the error of the mean is some 2%
AUTO = "auto"


def spread(batches: Iterable[Tensor]) -> float:
    """Half the mean squared distance between two samples, from batches [b, ...]: the trace of their covariance."""
    count, first, second = 0, 0.0, 0.0
    for batch in batches:
        values = batch.double().flatten(1)
        count, first, second = count + len(values), first + values.sum(0), second + values.square().sum()
    return ((second - first.square().sum() / count) / (count - 1)).item()


def is_wanted(config: Config) -> bool:
    """Whether a weight is left to the data."""
    return AUTO in (config.objective.r1, config.objective.r2)


def measured(config: Config, world: World, loader: TrainingLoader) -> float:
    """The weight that suits the data, to three digits; read on rank 0, all workers must call.

    Raises:
        UserError: on all workers: data that cannot be read, or are all alike.
    """
    weight, problem = 0.0, None
    if world.rank == 0:
        try:
            weight = float(f"{SHARE * spread(loader.first_samples(SAMPLES)):.3g}")
            if weight <= 0:
                raise UserError("--objective.r1 auto: the data's first samples are all alike: give a number")
        except UserError as error:
            problem = error
    agreement.raise_on_all(world, problem)
    return world.gather(weight)[0]


def applied(config: Config, weight: float) -> Config:
    """The configuration with a number in place of each `auto`."""
    objective = config.objective
    r1, r2 = (weight if value == AUTO else value for value in (objective.r1, objective.r2))
    return replace(config, objective=replace(objective, r1=r1, r2=r2))
