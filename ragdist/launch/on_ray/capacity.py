"""Room for workers in a cluster: pure functions of its nodes' resources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ragdist.config import division
from ragdist.config.world_size import WorldSize

_SLACK = 1e-6  # resources are sums of fractions


@dataclass(frozen=True)
class Node:
    """A node of the cluster."""

    id: str
    address: str
    total: Mapping[str, float]  # resources: {"CPU": 8.0, "GPU": 1.0, ...}
    free: Mapping[str, float]  # of them, not reserved
    usable: bool = True  # alive, reachable, and not about to go


def fit(resources: Mapping[str, float], need: Mapping[str, float]) -> int:
    """The number of workers that fit into these resources."""
    return min(int((resources.get(name, 0.0) + _SLACK) / amount) for name, amount in need.items() if amount > 0)


def room(nodes: Iterable[Node], need: Mapping[str, float], *, free: bool = False) -> int:
    """The number of workers that fit on the usable nodes; with ``free``, beside all that is reserved now."""
    return sum(fit(node.free if free else node.total, need) for node in nodes if node.usable)


def returned(nodes: Iterable[Node], held: Mapping[str, int], need: Mapping[str, float]) -> bool:
    """Whether what workers that ended held is free again; ``held``: their number by the node's id.

    Each node tells for itself, so that some of it is free before the rest; nodes that are not usable do not count.
    """
    return all(fit(node.free, need) >= held.get(node.id, 0) for node in nodes if node.usable)


def need_of(nodes: Iterable[Node], size: WorldSize, cpus: int, gpus: int | None) -> dict[str, float]:
    """The resources of one worker.

    Args:
        nodes: the cluster's.
        size: the number of workers that are asked for.
        cpus: a worker's processor cores; 0: a worker's fair share of the smallest node that has room for it.
        gpus: a worker's; None: one where the cluster has any.
    """
    nodes = [node for node in nodes if node.usable]
    if gpus is None:
        gpus = int(any(node.total.get("GPU", 0) >= 1 for node in nodes))
    gpu = {"GPU": float(gpus)} if gpus else {}
    if cpus:
        return {"CPU": float(cpus), **gpu}
    count = min(size.high, room(nodes, gpu) if gpu else sum(fit(node.total, {"CPU": 1.0}) > 0 for node in nodes))
    if not gpu:
        count = max(count, size.low)
    most = int(max((node.total.get("CPU", 0.0) for node in nodes), default=1.0))
    for share in range(most, 1, -1):
        if room(nodes, {"CPU": float(share), **gpu}) >= count > 0:
            return {"CPU": float(share), **gpu}
    return {"CPU": 1.0, **gpu}


def choose(size: WorldSize, fits: int, logical_workers: int, threads: int) -> int:
    """Choose the number of workers to start where so many fit; 0: too few.

    It is the least number that is as fast as the largest: of 8 logical workers, 5 to 7 workers compute two each, at
    most, as 4 do.

    Args:
        size: the numbers of workers that are asked for, at most ``logical_workers``.
        fits: workers that there is room for.
        logical_workers: of the run.
        threads: of a worker, each of which computes a logical worker at a time.
    """
    most = min(size.high, fits)
    if most < size.low:
        return 0
    rounds = {count: division.rounds(logical_workers, count, threads) for count in range(size.low, most + 1)}
    return next(count for count, number in rounds.items() if number == rounds[most])
