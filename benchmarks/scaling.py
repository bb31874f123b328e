"""What communication costs: one-pass DDP and a flat reduction after the backward, on hosts with slow links.

    python -m benchmarks.scaling [--nodes 2 4] [--rounds 5] [any option of ragdist.train]      (as root, with iproute2)
    python -m benchmarks.scaling --predict 0.05       what the model says of larger clusters, by seconds of computation

Hosts are network namespaces of this machine (docs/lab.md), one worker with one thread on each. In every
round each worker makes an update without any reduction, with the overlapped one, and with the flat one, and
an all-reduce of as many bytes alone; so what is measured is what a reduction adds to the same computation.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from ragdist.config import Config, division, settings
from ragdist.distributed import summation
from ragdist.distributed.world import World, shares
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.tools.memory import keep_freed_memory
from ragdist.training.batch import Batch
from ragdist.training.gradient_reduction import Reduction
from ragdist.training.optimizers import Optimizers
from ragdist.training.update import Update
from ragdist.training.worker_signals import SIGNALS

PORT = 29511
# Delay each way in seconds, bits a second.
LINKS = {"as fast as it goes": None, "1 Gbit/s, 1 ms": (0.5e-3, 1e9), "100 Mbit/s, 1 ms": (0.5e-3, 1e8)}
SHARE = 0.45  # of an update's computation that is left when the first bucket is ready to be sent


def predict(
    compute: float,
    size: float,
    nodes: int,
    rate: float,
    latency: float,
    *,
    overlapped: bool,
    subtrees: int = 1,
    rounds: int = 1,
) -> float:
    """Seconds of an update.

    Args:
        compute: seconds of its computation.
        size: bytes of the gradients.
        nodes: workers, one a link.
        rate: bytes a second of a link, each way.
        latency: seconds of a round trip.
        overlapped: whether buckets are sent while the backward goes on.
        subtrees: sums of logical workers that a worker has to send, at most; 1 where both numbers are powers of two.
        rounds: logical workers that a worker computes one after the other; buckets are sent during the last.

    Of each subtree, and of the whole, a worker sends (n - 1) / n of the bytes, in n - 1 steps of half a round trip.
    What exceeds the computation that is left when the first bucket is ready is waited for.
    """
    reduce = (1 + subtrees) * (nodes - 1) / nodes * size / rate + (nodes - 1) * latency if nodes > 1 else 0.0
    return compute + (max(0.0, reduce - SHARE * compute / rounds) if overlapped else reduce)


def larger(compute: float, size: float) -> str:
    """A table of the model's efficiency on 8 to 512 GPUs, each with a share of the network of its own."""
    links = {"10 Gbit/s, 50 us": (10e9 / 8, 50e-6), "25 Gbit/s, 20 us": (25e9 / 8, 20e-6),
             "200 Gbit/s, 5 us": (200e9 / 8, 5e-6)}  # fmt: skip
    rows = []
    for name, (rate, latency) in links.items():
        for nodes in (8, 64, 512):
            both = [compute / predict(compute, size, nodes, rate, latency, overlapped=o) for o in (True, False)]
            rows.append([name, str(nodes), *(f"{value:.0%}" for value in both)])
    return table(["link of each GPU", "GPUs", "efficiency, overlapped", "efficiency, flat"], rows)


def make(config: Config, world: World, kind: str):
    """A function that makes one update with this reduction."""
    network, shape = asdict(config.network), (3, 32, 32)
    generator, ema = (build_generator(network, shape, 0) for _ in range(2))
    discriminator = build_discriminator(network, shape, 0)
    update = Update(generator, discriminator, config.objective, batch_size=config.batch_size)
    optimizers = Optimizers(generator, discriminator, ema, config.optim, batch_size=config.batch_size)
    logical = division.logical_workers(config)
    slots = len(world.slots(config.batch_size, logical))
    if kind == "none":  # the worker's part alone
        logical, world = len(world.logical_workers(logical)), World(0, 1, world.device)
    reduction = Reduction(update, world, logical, micro_batch=0, one_pass=kind != "flat")
    batch = Batch(torch.randn(slots, config.network.z_dim), torch.rand(slots, *shape) * 2 - 1, None)

    def run() -> None:
        update.zero_grad(set_to_none=True)
        reduction.backward(batch, "both", config.objective.lam, False, torch.zeros(len(SIGNALS)))
        optimizers.step("both", update.report.grad, 0, torch.zeros(()))
        optimizers.average(0)

    return run, sum(p.numel() * p.element_size() for p in update.parameters())


def worker(rank: int, size: int, address: str, rounds: int, rest: list[str]) -> None:
    """One host's process; rank 0 prints the medians as JSON."""
    torch.set_num_threads(1)
    keep_freed_memory()
    config, _ = settings.parse(rest, "benchmarks.scaling")
    dist.init_process_group("gloo", f"tcp://{address}:{PORT}", rank=rank, world_size=size)
    world = World(rank, size, torch.device("cpu"))
    works, nbytes = {}, 0
    for kind in ("none", "overlapped", "flat"):
        works[kind], nbytes = make(config, world, kind)
    flat = torch.zeros(nbytes // 4)
    works["all-reduce"] = lambda: dist.all_reduce(flat)
    found: dict[str, list[float]] = {kind: [] for kind in works}
    for number in range(rounds + 1):
        for kind, work in works.items():
            dist.barrier()
            began = time.perf_counter()
            work()
            dist.barrier()
            if number:
                found[kind].append(time.perf_counter() - began)
    if rank == 0:
        print(json.dumps({"bytes": nbytes, **found}), flush=True)
    dist.destroy_process_group()


def measure(lab, nodes: list[str], rounds: int, rest: list[str]) -> dict:
    """Seconds of each kind on these hosts."""
    here = Path(__file__).parents[1]
    processes = [
        lab.popen(
            node,
            [sys.executable, "-m", "benchmarks.scaling", "--worker", str(rank), str(len(nodes)),
             lab.address(nodes[0]), "--rounds", str(rounds), *rest],
            cwd=here,
            env={"PYTHONPATH": str(here)},
            stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            text=True,
        )
        for rank, node in enumerate(nodes)
    ]  # fmt: skip
    out, _ = processes[0].communicate(timeout=1800)
    for process in processes:
        process.wait(60)
    return json.loads(out.splitlines()[-1])


HEAD = ["nodes", "link", "computation s", "all-reduce alone s", "exposed, overlapped s", "exposed, flat s",
        "ratio", "overlapped: measured / model", "flat: measured / model"]  # fmt: skip


def row(name: str, count: int, logical: int, found: dict) -> list[str]:
    """A row of the table, under HEAD.

    Args:
        name: of the link.
        count: hosts.
        logical: logical workers.
        found: as of `measure`.
    """
    compute, overlapped, flat, alone = (
        statistics.median(found[kind]) for kind in ("none", "overlapped", "flat", "all-reduce")
    )
    ratios = [
        (a - c) / max(b - c, 1e-9) for a, b, c in zip(found["overlapped"], found["flat"], found["none"], strict=True)
    ]
    if link := LINKS[name]:
        rate, latency = link[1] / 8, 2 * link[0]
    else:
        rate, latency = 2 * (count - 1) / count * found["bytes"] / alone, 0
    subtrees = max(len(summation.subtrees(logical, part)) for part in shares(logical, count))
    more = {"subtrees": subtrees, "rounds": -(-logical // count)}
    said = [predict(compute, found["bytes"], count, rate, latency, overlapped=o, **more) for o in (True, False)]
    return [
        str(count), name, f"{compute:.2f}", f"{alone:.2f}", f"{overlapped - compute:+.2f}",
        f"{flat - compute:+.2f}", f"{statistics.median(ratios):.2f}", f"{overlapped:.2f} / {said[0]:.2f}",
        f"{flat:.2f} / {said[1]:.2f}",
    ]  # fmt: skip


def compare(sizes: list[int], rounds: int, rest: list[str]) -> None:
    """Print the table for clusters of these sizes, over each link."""
    from cluster.lab import Lab

    rows, logical = [], division.logical_workers(settings.parse(rest, sys.argv[0])[0])
    with Lab.up("scaling", nodes=max(sizes), say=lambda text: print(text, file=sys.stderr)) as lab:
        for count in sizes:
            nodes = lab.nodes[:count]
            for name, link in LINKS.items():
                for node in nodes:
                    lab.slow(node, **({"delay": link[0], "rate": link[1]} if link else {}))
                found = measure(lab, nodes, rounds, rest)
                rows.append(row(name, count, logical, found))
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    batch = settings.parse(rest, sys.argv[0])[0].batch_size
    size = f"gradients of {found['bytes'] / 1e6:.1f} MB"
    print(f"\n{machine()}; cifar10 networks, {size}, batch {batch}, {rounds} rounds\n")
    print(table(HEAD, rows))


def main() -> None:
    parser = command_line.parser("scaling", __doc__, of_runs=True)
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--predict", type=float, metavar="SECONDS")
    parser.add_argument("--worker", nargs=3, metavar=("RANK", "SIZE", "ADDRESS"), help=argparse.SUPPRESS)
    own, rest = parser.parse_known_args()
    if "--config" not in " ".join(rest):
        rest = ["--config", "cifar10", "--batch_size", "32", "--objective.group", "8", *rest]
    if own.worker:
        rank, size, address = own.worker
        worker(int(rank), int(size), address, own.rounds, rest)
    elif own.predict:
        config, _ = settings.parse(rest, sys.argv[0])
        nbytes = make(config, World(0, 1, torch.device("cpu")), "none")[1]
        print(f"{own.predict:g} s of computation an update, gradients of {nbytes / 1e6:.1f} MB\n")
        print(larger(own.predict, nbytes))
    else:
        compare(own.nodes, own.rounds, rest)


if __name__ == "__main__":
    main()
