"""What torch.compile is worth: images per second with the networks compiled and as they are, and what that costs first.

    python -m benchmarks.compile [--rounds 5] [--precisions fp32 bf16] [any option of ragdist.train]

The cifar10 preset's networks, on a CPU with a batch of 64. A round is as many updates as lie between two penalties, so
that those, which run uncompiled, count at their share.
"""

import os
import sys
import tempfile
from dataclasses import asdict, replace

import torch

from benchmarks import options as command_line
from benchmarks.measure import machine, paired, seconds, spread, table
from ragdist.config import Config, division, settings
from ragdist.distributed.world import World, pick_device
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.tools.memory import keep_freed_memory
from ragdist.training.batch import Batch
from ragdist.training.gradient_reduction import Reduction
from ragdist.training.optimizers import Optimizers
from ragdist.training.update import ONE_PASS, STATISTICS, Update
from ragdist.training.worker_signals import SIGNALS


class Work:
    """Updates of one pair of networks on a batch of noise."""

    def __init__(self, config: Config, shape: tuple[int, ...], device: torch.device):
        self.config, network, batch = config, asdict(config.network), config.batch_size
        generator, ema = (build_generator(network, shape, 0).to(device) for _ in range(2))
        discriminator = build_discriminator(network, shape, 0).to(device)
        self.update = Update(
            generator,
            discriminator,
            config.objective,
            batch_size=batch,
            precision=config.precision,
            compile=config.compile,
        ).to(device)
        self.reduction = Reduction(
            self.update, World(0, 1, device), division.logical_workers(config), micro_batch=0, one_pass=True
        )
        self.optimizers = Optimizers(generator, discriminator, ema, config.optim, batch_size=batch)
        noise = torch.Generator().manual_seed(0)
        z = torch.randn(batch, config.network.z_dim, generator=noise)
        real = torch.rand(batch, *shape, generator=noise) * 2 - 1
        self.batch = Batch(z.to(device), real.to(device), None)
        self.signals = torch.zeros(len(SIGNALS), device=device)

    def compile(self) -> None:
        """Compile the networks, as a run does before it begins."""
        self.reduction.rehearse(self.batch, "both", self.config.objective.lam, False)

    def round(self) -> None:
        config = self.config
        for number in range(config.objective.penalty_every):
            self.update.zero_grad(set_to_none=True)
            (phase,) = ONE_PASS
            self.reduction.backward(self.batch, phase, config.objective.lam, number == 0, self.signals)
            report = self.update.report.grad[: len(STATISTICS)]
            self.optimizers.step(phase, report, number * config.batch_size, report.new_zeros(()))
            self.optimizers.average(number * config.batch_size)


def main() -> None:
    parser = command_line.parser("compile", __doc__, of_runs=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[3, 32, 32])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    own, rest = parser.parse_known_args()
    config, _ = settings.parse(rest if "--config" in rest else ["--config", "cifar10", *rest], sys.argv[0])
    device = pick_device(config.device, deterministic=config.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
        if "--batch_size" not in rest:
            config = replace(config, batch_size=64)
    kinds = {(precision, compiled): replace(config, precision=precision, compile=compiled)
             for precision in own.precisions for compiled in (False, True)}  # fmt: skip
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # what was compiled before must not make it shorter
        works = {kind: Work(options, tuple(own.shape), device) for kind, options in kinds.items()}
        print(f"compiling, then {own.rounds + 1} rounds of {len(works)} works ...", file=sys.stderr)
        first = {kind: seconds(works[kind].compile) for kind in kinds if kind[1]}
        torch.compiler.reset()
        again = {kind: seconds(works[kind].compile) for kind in first}
        found = paired({kind: work.round for kind, work in works.items()}, own.rounds)
    images = config.objective.penalty_every * config.batch_size
    rows = []
    for (precision, compiled), took in found.items():
        ratios = [a / b for a, b in zip(found[precision, False], took, strict=True)]
        cost = [f"{times[precision, True]:.1f}" if compiled else "" for times in (first, again)]
        rows.append([precision, "compiled" if compiled else "as they are", spread([images / t for t in took], 1),
                     spread(ratios), *cost])  # fmt: skip
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device
    print(f"{machine()}; {name}, {config.network.family}, one pass, batch {config.batch_size}, penalties every "
          f"{config.objective.penalty_every} updates, {own.rounds} rounds\n")  # fmt: skip
    head = ["precision", "networks", "images/s", "ratio to uncompiled", "compiling, s", "from its cache, s"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
