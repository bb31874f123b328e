"""The one-pass update against the alternating one: images per second on the same networks and batch.

    python -m benchmarks.update [--config cifar10] [any option of ragdist.train]

A round is as many updates as lie between two penalties, so that lazy penalties count at their share.
"""

import argparse
import sys
from dataclasses import asdict

import torch

from benchmarks.measure import machine, paired, spread, table
from ragdist import settings
from ragdist.config import Config
from ragdist.memory import keep_freed_memory
from ragdist.networks import build_discriminator, build_generator
from ragdist.step import Optimizers
from ragdist.update import ALTERNATING, ONE_PASS, Batch, Update
from ragdist.world import pick_device


def loop(config: Config, shape: tuple[int, ...], phases: tuple[str, ...], device: torch.device):
    """A function that runs one round of updates with these phases."""
    network, batch = asdict(config.network), config.batch_size
    generator, ema = (build_generator(network, shape, 0).to(device) for _ in range(2))
    discriminator = build_discriminator(network, shape, 0).to(device)
    update = Update(generator, discriminator, config.objective, batch_size=batch, precision=config.precision).to(device)
    optimizers = Optimizers(generator, discriminator, ema, config.optim, batch_size=batch)
    z = torch.randn(batch, config.network.z_dim, device=device)
    real = torch.rand(batch, *shape, device=device) * 2 - 1
    every = config.objective.penalty_every

    def run() -> None:
        for number in range(every):
            for phase in phases:
                update.zero_grad(set_to_none=True)
                loss, statistics = update(Batch(z, real, None), phase, config.objective.lam, number == 0)
                loss.backward()
                optimizers.step(phase, statistics, number * batch, statistics.new_zeros(()))
            optimizers.average(number * batch)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[3, 32, 32])
    own, rest = parser.parse_known_args()
    config, _ = settings.parse(rest if "--config" in " ".join(rest) else ["--config", "cifar10", *rest], sys.argv[0])
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    works = {name: loop(config, tuple(own.shape), phases, device)
             for name, phases in (("one pass", ONE_PASS), ("alternating", ALTERNATING))}  # fmt: skip
    images = config.objective.penalty_every * config.batch_size
    found = paired(works, own.rounds)
    rows = []
    for name, took in found.items():
        ratios = [b / a for a, b in zip(took, found["alternating"], strict=True)]
        rows.append([name, spread([images / t for t in took], 1), spread(ratios)])
    print(f"{machine()}; {device}, {config.network.family}, batch {config.batch_size}, {config.precision}, "
          f"penalties every {config.objective.penalty_every} updates, {own.rounds} rounds\n")  # fmt: skip
    print(table(["update", "images/s", "ratio to alternating"], rows))


if __name__ == "__main__":
    main()
