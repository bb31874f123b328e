"""The gain of an allocator that keeps freed memory, on the CPU: images per second and peak memory.

    python -m benchmarks.memory [--rounds 3] [any option of ragdist.train]

Each measurement is a process of its own, with and without in turn: what an allocator was told stays.
"""

import subprocess
import sys

import torch

from benchmarks import options as command_line
from benchmarks.loops import Setup, ours
from benchmarks.measure import machine, seconds, spread, table
from benchmarks.update import round_of
from ragdist.config import settings
from ragdist.tools.machine import peak_memory
from ragdist.tools.memory import keep_freed_memory


def measure(keep: bool, arguments: list[str]) -> None:
    """Print images per second of the second round of updates, and this process's peak memory in MB."""
    if keep:
        assert keep_freed_memory(), "this C library cannot be told"
    config, _ = settings.parse(arguments, "benchmarks.memory")
    run = round_of(ours(Setup(config, (3, 32, 32), torch.device("cpu")), one_pass=True), config.objective.penalty_every)
    run()
    images = config.objective.penalty_every * config.batch_size
    print(images / seconds(run), peak_memory() / 2**20)


def main() -> None:
    parser = command_line.parser("memory", __doc__, of_runs=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=["keep", "default"])
    own, rest = parser.parse_known_args()
    if own.measure:
        measure(own.measure == "keep", rest)
        return
    rest = rest if "--config" in " ".join(rest) else ["--config", "cifar10", *rest]
    found: dict[str, list[tuple[float, float]]] = {"keep": [], "default": []}
    for _ in range(own.rounds):
        for name, values in found.items():
            command = [sys.executable, "-m", "benchmarks.memory", "--measure", name, *rest]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            values.append(tuple(map(float, output.split())))
    rows = []
    for name, title in (("keep", "freed memory kept"), ("default", "the C library's default")):
        rates, peaks = zip(*found[name], strict=True)
        ratios = [a / b for a, (b, _) in zip(rates, found["default"], strict=True)]
        rows.append([title, spread(rates, 1), spread(ratios), spread(peaks, 0)])
    print(f"{machine()}; one pass, {' '.join(rest)}, {own.rounds} processes each in turn\n")
    print(table(["allocator", "images/s", "ratio to the default", "peak memory, MB"], rows))


if __name__ == "__main__":
    main()
