"""An update of ours against the loops that a user would write or take elsewhere, on the same networks and batch.

    python -m benchmarks.update [--rounds 5] [--only WORD ...] [--plot FILE.svg] [any option of ragdist.train]

A round is as many updates as lie between two penalties, so that lazy penalties count at their share. Loops run in
turn in one process, with the allocator set as the trainer sets it. FLOPs and reductions are counted on one round of
each. Peak memory is that of a process of its own, above what it had before its first update: ours with the allocator
as the trainer sets it, the others with the C library's default; on a GPU what PyTorch allocated at most.
"""

import argparse
import importlib.util
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import options as command_line
from benchmarks.loops import OneUpdate, Setup, loops, modality_of
from benchmarks.measure import machine, paired, spread, table
from ragdist import modalities
from ragdist.config import settings
from ragdist.distributed.world import pick_device
from ragdist.tools import charts
from ragdist.tools.memory import keep_freed_memory

SHAPES = {"image": (3, 32, 32), "audio": (1, 8192)}  # of samples, where nothing is said


class Counter(TorchDispatchMode):
    """Counts floating-point operations, and elements of all all-reduces, DistributedDataParallel's included."""

    flops = reduced = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.c10d.allreduce_.default:
            self.reduced += sum(tensor.numel() for tensor in args[0])
        count = flop_registry.get(func.overloadpacket)
        if count:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        if func is torch.ops.aten.convolution_backward.default:
            self.flops -= self._too_many(count, result, *args)
        return result

    @staticmethod
    def _too_many(count, result, *args) -> int:
        """What PyTorch counts for the weights' gradient, as if each group of channels met all others."""
        *rest, groups, mask = args
        of_weights = count(*rest, groups, [False, mask[1], False], out_val=result)
        return of_weights - of_weights // groups


def round_of(update: OneUpdate, count: int) -> Callable[[], None]:
    """A function of ``count`` updates in turn."""

    def run() -> None:
        for number in range(count):
            update(number)

    return run


def counted(setup: Setup, make: Callable[[Setup], OneUpdate], count: int) -> tuple[float, float]:
    """FLOPs a sample, and elements reduced in an update over the parameters of both networks."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        update = make(setup._replace(reduced=True))
        update(0)  # DistributedDataParallel settles its buckets in the first
        with Counter() as counter:
            round_of(update, count)()
    finally:
        dist.destroy_process_group()
    parameters = sum(p.numel() for network in setup.networks() for p in network.parameters())
    return counter.flops / count / setup.config.batch_size, counter.reduced / count / parameters


def resident(what: str) -> float:
    """This process's memory now (VmRSS) or at most since `forget_peak` (VmHWM), in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{what}:"))) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def print_memory(setup: Setup, title: str, make: Callable[[Setup], OneUpdate], count: int) -> None:
    """Print the most MB that so many updates take; in a process of its own."""
    if setup.device.type == "cuda":
        update = make(setup)
        torch.cuda.reset_peak_memory_stats()
        round_of(update, count)()
        print(torch.cuda.max_memory_allocated() / 2**20)
        return
    if "pass" in title or "alternating" in title:
        keep_freed_memory()
    update = make(setup)
    if not Path("/proc/self/clear_refs").exists():  # Linux alone forgets a peak
        print(math.nan)
        return
    before = resident("VmRSS")
    forget_peak()
    round_of(update, count)()
    print(resident("VmHWM") - before)


def memory(title: str, rest: list[str]) -> float:
    command = [sys.executable, "-m", "benchmarks.update", "--memory", title, *rest]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def memory_table(peaks: dict[str, float]) -> str:
    """The table of peak memory in MB by the loops' titles, the first of which others are compared with."""
    first, least = next(iter(peaks.items()))
    rows = [[title, f"{peak:,.0f}", f"{peak / least:.2f}"] for title, peak in peaks.items()]
    return table(["loop", "peak memory of updates, MB", f"to '{first}'"], rows)


def speed_table(
    found: dict[str, list[float]],
    rates: dict[str, list[float]],
    counts: dict[str, tuple[float, float]],
    peaks: dict[str, float],
    units: str,
) -> str:
    """The table of all figures by the loops' titles, the first of which others are compared with.

    Args:
        found: seconds of each round.
        rates: samples a second in each round.
        counts: as of `counted`.
        peaks: MB.
        units: what samples are called.
    """
    first, rows = next(iter(found)), []
    for title, took in found.items():
        ratios = [theirs / mine for mine, theirs in zip(found[first], took, strict=True)]
        flops, reduced = counts[title]
        speed = flops * statistics.median(rates[title]) / 1e12
        rows.append([title, spread(rates[title], 1), spread(ratios), f"{flops / 1e9:.2f}", f"{speed:.3g}",
                     f"{reduced:.2f}", f"{peaks[title]:,.0f}"])  # fmt: skip
    head = ["loop", f"{units}/s", f"'{first}' is faster by", "GFLOPs a sample", "TFLOP/s",
            "reductions of all gradients an update", "peak memory of updates, MB"]  # fmt: skip
    return table(head, rows)


def chosen(makers: dict[str, Callable[[Setup], OneUpdate]], words: list[str]) -> dict[str, Callable]:
    """The first loop, and those with one of the words in their title that can be run here."""
    if importlib.util.find_spec("lightning_fabric") is None:
        makers = {title: make for title, make in makers.items() if "Fabric" not in title}
        print("lightning-fabric is not installed and is left out\n", file=sys.stderr)
    first, *others = makers
    return {t: makers[t] for t in [first, *(t for t in others if any(word in t for word in words))]}


def compare(
    setup: Setup, makers: dict[str, Callable], rounds: int, rest: list[str], units: str
) -> dict[str, list[float]]:
    """Print the table of these loops; samples a second in each round by title, none where memory alone is measured.

    Args:
        setup: what they share.
        makers: by their titles.
        rounds: 0: peak memory alone.
        rest: options of the run.
        units: what samples are called.
    """
    config, every = setup.config, setup.config.objective.penalty_every
    counts, peaks = {}, {}
    for title, make in makers.items():
        print(f"counting: {title}", file=sys.stderr, flush=True)
        counts[title] = counted(setup, make, every) if rounds else (0.0, 0.0)
        peaks[title] = memory(title, ["--shape", *map(str, setup.shape), *rest])
    about = f"{machine(setup.device)}; {config.network.family}, batch {config.batch_size}, {config.precision}"
    if not rounds:
        print(f"{about}\n\n{memory_table(peaks)}")
        return {}
    works = {title: round_of(make(setup), every) for title, make in makers.items()}
    found = paired(works, rounds, title="updates")
    rates = {title: sorted(every * config.batch_size / t for t in took) for title, took in found.items()}
    print(f"{about}, lazy penalties every {every} updates, {rounds} rounds\n")
    print(speed_table(found, rates, counts, peaks, units))
    return rates


def main() -> None:
    parser = command_line.parser("update", __doc__, of_runs=True)
    parser.add_argument("--rounds", type=int, default=5, help="0: peak memory alone")
    parser.add_argument("--shape", type=int, nargs="+", help="of a sample; pictures of 3 32 32, clips of 1 8192")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="loops with one of these words")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    own, rest = parser.parse_known_args()
    if "--config" not in " ".join(rest):
        rest = ["--config", "cifar10", *rest]
    config, _ = settings.parse(rest, sys.argv[0])
    device = pick_device(config.device, **config.kernels)
    modality = modality_of(config)
    units = modalities.making(modality).units
    setup, makers = Setup(config, tuple(own.shape or SHAPES[modality]), device), loops(config)
    if own.memory:
        print_memory(setup, own.memory, makers[own.memory], min(config.objective.penalty_every, 3))
        return
    makers = chosen(makers, own.only)
    if device.type == "cpu":
        keep_freed_memory()
    rates = compare(setup, makers, own.rounds, rest, units)
    if own.plot and rates:
        own.plot.write_text(charts.median_bars({"": rates}, f"{units}/s"))


if __name__ == "__main__":
    main()
