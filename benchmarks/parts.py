"""Where the time of a run goes: the two networks' arithmetic, and everything around it.

    python -m benchmarks.parts --data shards/cifar10 [--updates 48] [any option of ragdist.train]

A real run of the cifar10 preset in this process: its parts are timed by the wall clock, each without those
inside it, from the second round of penalties on. What comes rarely is counted at its rhythm: the seconds of one
checkpoint, or of one sample grid, over the samples that lie between two. On a GPU each part waits for the device
before and after, so the parts of a training that overlaps them take less.
"""

import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, redirect_stdout
from functools import wraps
from pathlib import Path

import torch

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from ragdist.config import Config, settings
from ragdist.distributed.world import World, pick_device
from ragdist.launch.session import open_data
from ragdist.runs.open import run_at
from ragdist.tools import charts
from ragdist.tools.memory import keep_freed_memory
from ragdist.training.augmentation import Augmentation
from ragdist.training.dataloader import TrainingLoader
from ragdist.training.gradient_reduction import Reduction
from ragdist.training.monitor import Monitor
from ragdist.training.optimizers import Optimizers
from ragdist.training.trainer import Trainer
from ragdist.training.update import Update
from ragdist.training.worker_signals import SignalReader

NETWORKS = "networks: forward, backward, losses, penalties"
PARTS = [
    (Reduction, "backward", NETWORKS),
    (Update, "_relative", "relative term"),
    (Update, "_seen", "augmentation"),
    (Augmentation, "numbers", "augmentation"),
    (TrainingLoader, "to_device", "to the device, as floats"),
    (Optimizers, "step", "gradient norms and Adam"),
    (Optimizers, "average", "moving average of G"),
    (SignalReader, "read", "signals"),
    (Monitor, "update", "monitor"),
    (Monitor, "grid", "sample grids"),
    (Trainer, "_samples", "sample grids"),
    (Trainer, "save", "checkpoints"),
]


class Clock:
    """Seconds and calls of named parts, each without the parts inside it."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inside: list[float] = []  # of each part that is running, the seconds of the parts within

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def measured(self, work, part: str):
        """The function, timed."""

        @wraps(work)
        def timed(*args, **kwargs):
            began = self.now()
            self._inside.append(0.0)
            try:
                return work(*args, **kwargs)
            finally:
                took = self.now() - began
                self.seconds[part] += took - self._inside.pop()
                self.calls[part] += 1
                if self._inside:
                    self._inside[-1] += took

        return timed

    def reset(self) -> None:
        self.seconds.clear()
        self.calls.clear()


def relative_backward(trainer: Trainer, clock: Clock, rounds: int = 10) -> float:
    """Seconds of the relative term's own backward, which runs inside that of the networks."""
    config, device = trainer.config, trainer.world.device
    if not config.objective.lam or config.objective.space != "points":
        return 0.0
    slots = next(iter(trainer.loader.batches(0)))
    batch = trainer.loader.to_device(slots, trainer.seen)
    took = 0.0
    for _ in range(rounds):
        fake = (torch.rand_like(batch.real, device=device) * 2 - 1).requires_grad_()
        term, _ = trainer.step.update._relative(batch, fake, fake, None, None, config.objective.lam)
        began = clock.now()
        torch.autograd.grad(term, fake)
        took += clock.now() - began
    return took / rounds


def trained(config: Config, warm: int) -> tuple[dict[str, float], float]:
    """Train a run and time its parts from sample number ``warm`` on.

    Returns:
        Seconds of each part, without those inside it; seconds of all.
    """
    device = pick_device(config.device, **config.kernels)
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(1)  # parts that run side by side would be counted one after the other
    clock, began = Clock(device), 0.0
    for owner, name, part in PARTS:
        setattr(owner, name, clock.measured(getattr(owner, name), part))
    place, index = run_at(config.out), open_data(config)
    with place.leased(config, overwrite=False), place.opened(config) as folder:
        trainer = Trainer(config, World(0, 1, device), index, folder)

        def after_warm_up() -> bool:
            nonlocal began
            if trainer.seen == warm:
                clock.reset()
                began = clock.now()
            return False

        with closing(Monitor(config, folder, index, 0)) as monitor, redirect_stdout(sys.stderr):
            trainer.train(monitor, after_warm_up)
        whole, seconds = clock.now() - began, dict(clock.seconds)
        backward = relative_backward(trainer, clock) * (config.samples - warm) / config.batch_size
    seconds["relative term"] += backward
    seconds[NETWORKS] -= backward
    return seconds, whole


def at_their_rhythm(seconds: dict[str, float], whole: float, samples: int, rhythm: dict[str, int]) -> dict[str, float]:
    """Seconds of all parts over so many samples, those that come rarely at their rhythm, the longest first.

    Args:
        seconds: of each part; of those in ``rhythm`` seconds of one.
        whole: seconds of all.
        samples: of the updates that were timed.
        rhythm: samples between two of a part.
    """
    rare = {part: took for part, took in seconds.items() if part in rhythm}
    found = {part: took for part, took in seconds.items() if part not in rhythm}
    found["waiting for data, and the loop itself"] = whole - sum(seconds.values())
    found |= {part: took * samples / rhythm[part] for part, took in rare.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    parser = command_line.parser("parts", __doc__, of_runs=True)
    parser.add_argument("--updates", type=int, default=48)
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    own, argv = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        rest = argv if "--config" in " ".join(argv) else ["--config", "cifar10", *argv]
        config, _ = settings.parse([*rest, "--out", f"{folder}/run"], "benchmarks.parts")
        rhythm = {"checkpoints": config.checkpoint.every, "sample grids": config.samples // 20}
        every = config.objective.penalty_every
        count = -(-own.updates // every) * every
        config.samples = (every + count) * config.batch_size
        config.checkpoint.every = config.monitor.grid_every = 10**9  # at the end alone
        seconds, whole = trained(config, warm=every * config.batch_size)
    samples = count * config.batch_size
    seconds = at_their_rhythm(seconds, whole, samples, rhythm)
    total = sum(seconds.values())
    shares = {part: took / total for part, took in seconds.items()}
    rows = [[part, f"{1000 * share * total / count:.2f}", f"{share:.2%}"] for part, share in shares.items()]
    rows.append(["all but the networks", f"{1000 * (1 - shares[NETWORKS]) * total / count:.2f}",
                 f"**{1 - shares[NETWORKS]:.2%}**"])  # fmt: skip
    device = pick_device(config.device, **config.kernels)
    print(f"{machine(device)}; {config.network.family}, batch {config.batch_size}, {config.precision}, "
          f"{count} updates, {samples / total:.1f} images/s\n")  # fmt: skip
    print(table(["part", "ms an update", "share"], rows))
    if own.plot:
        few = {part: [100 * share] for part, share in shares.items() if part != NETWORKS}
        title = f"% of the time; the networks take the other {shares[NETWORKS]:.1%}"
        own.plot.write_text(charts.median_bars({"": few}, title))


if __name__ == "__main__":
    main()
