"""One small training in memory, with the project's own networks, update and optimizers.

Data that fit in memory and networks of a few layers leave nothing for a reader, checkpoints or a monitor to do; what
is compared is the objective.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ragdist.config import Config
from ragdist.networks.base import Generator
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.objective.relative import flatten
from ragdist.tools.errors import Diverged
from ragdist.training.batch import Batch
from ragdist.training.optimizers import Optimizers
from ragdist.training.update import ONE_PASS, Update

# Draws n reals [n, *shape] in [-1, 1], with labels or without, with the generator of random numbers that it is given.
Draw = Callable[[torch.Generator, int], Tensor | tuple[Tensor, Tensor]]


def configured(values: dict[str, Any], seed: int) -> Config:
    """A configuration from flat names, {"objective.lam": 0.0, ...}."""
    config = Config(seed=seed)
    for name, value in values.items():
        *path, last = name.split(".")
        place = config
        for part in path:
            place = getattr(place, part)
        assert hasattr(place, last), name
        setattr(place, last, value)
    return config


def play(
    config: Config,
    draw: Draw,
    shape: tuple[int, ...],
    updates: int,
    looks: Collection[int],
    look: Callable[[int], None],
    classes: int = 0,
    points: Callable[[Tensor, int], Tensor] = flatten,
    head: str = "tanh",
) -> Generator:
    """Train; the EMA generator.

    Args:
        config: the networks, the objective, the rates, the batch and the seed.
        draw: the reals.
        shape: of a sample.
        updates: how many.
        looks: numbers of updates after which ``look`` is called.
        look: given the number of updates and the EMA generator.
        classes: of the reals, if G and D are conditioned on them.
        points: the space of the relative term.
        head: G's output head, a name in `networks.HEADS`.

    Raises:
        Diverged: more updates were skipped for not being finite than a run may.
    """
    network, batch, seed = asdict(config.network), config.batch_size, config.seed
    generator = build_generator(network, shape, classes, seed=seed, head=head)
    ema = build_generator(network, shape, classes, seed=seed, head=head).eval().requires_grad_(False)
    discriminator = build_discriminator(network, shape, classes, seed=seed, head=head)
    update = Update(generator, discriminator, config.objective, batch_size=batch, points=points)
    optimizers = Optimizers(generator, discriminator, ema, config.optim, batch_size=batch)
    objective = config.objective
    random = torch.Generator().manual_seed(seed)
    nothing = torch.zeros(())
    for number in range(updates):
        z = torch.randn(batch, config.network.z_dim, generator=random)
        penalty = objective.penalized and number % objective.penalty_every == 0
        update.zero_grad(set_to_none=True)
        drawn = draw(random, batch)
        real, labels = drawn if isinstance(drawn, tuple) else (drawn, None)
        shares = torch.rand(batch, generator=random) if objective.gp else None
        loss, statistics = update(
            Batch(z, real, labels if classes else None, shares), *ONE_PASS, objective.lam, penalty
        )
        loss.backward()
        optimizers.step("both", statistics, number * batch, nothing)
        optimizers.average(number * batch)
        if number + 1 in looks:
            if optimizers.skipped.item() > config.optim.max_skipped:
                raise Diverged(f"{optimizers.skipped.item():.0f} of {number + 1} updates were not finite")
            look(number + 1, ema)
    return ema


@torch.no_grad()
def samples(generator: Generator, count: int, seed: int, batch: int = 2048) -> Tensor:
    """Draw samples, float32 [count, *shape] in [-1, 1], by the seed, ``batch`` at a time; of each class in turn."""
    random = torch.Generator().manual_seed(1_000_003 + seed)
    z = torch.randn(count, generator.z_dim, generator=random)
    labels = (torch.arange(count) % max(generator.num_classes, 1)).split(batch)
    parts = zip(z.split(batch), labels, strict=True)
    return torch.cat([generator(z, labels if generator.num_classes else None) for z, labels in parts])
