"""The cluster as one run sees it: the nodes that it may use, a worker's resources, and how many workers fit."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ragdist.config import Config, division
from ragdist.config.world_size import AS_MANY_AS_FIT, WorldSize
from ragdist.launch.on_ray import cluster
from ragdist.launch.on_ray.capacity import Node, choose, need_of, returned, room
from ragdist.launch.on_ray.demand import Demand

_SECONDS = 1.0  # from one look at the cluster's nodes to the next
_EXCLUDED = 300.0  # seconds for which a node on which an attempt could not start gets no worker


class Survey:
    """A cluster's nodes as they were when last looked at, and what of them a run takes.

    Args:
        config: the run's configuration.
        size: the number of workers that are asked for, at most that of the run's logical workers.
    """

    def __init__(self, config: Config, size: WorldSize):
        self.config, self.size = config, size
        self.nodes: list[Node] = []
        self.excluded: dict[str, float] = {}  # nodes, and until when
        self.demand = Demand()
        self.request_workers()

    def look(self) -> None:
        """Look at the nodes."""
        now = time.monotonic()
        self.excluded = {node: until for node, until in self.excluded.items() if until > now}
        found = cluster.nodes()
        self.nodes = [replace(node, usable=node.usable and node.id not in self.excluded) for node in found]
        self._looked = now
        self.demand.renew()

    def is_due(self, now: float) -> bool:
        """Whether it is time for another look; ``now`` is by time.monotonic()."""
        return now - self._looked > _SECONDS

    def request_workers(self) -> None:
        """Look at the nodes, decide on a worker's resources, and request them from the cluster's autoscaler."""
        self.look()
        config = self.config
        gpus = None if config.gpus_per_worker < 0 else config.gpus_per_worker
        if config.device == "cpu":
            gpus = 0
        elif gpus is None and cluster.can_grow_gpus():
            gpus = 1
        self.need = need_of(self.nodes, self.size, config.cpus_per_worker, gpus)
        count = self.size.low if self.size.high == AS_MANY_AS_FIT else self.size.high
        bundle = {name: int(amount) for name, amount in self.need.items()}  # Ray before 2.56 takes no 1.0
        self.demand.want([bundle] * count)

    def need_text(self) -> str:
        """A worker's resources in words."""
        return ", ".join(f"{amount:g} {name}" for name, amount in self.need.items())

    def fits(self, *, free: bool = False) -> int:
        """The number of workers that the nodes have room for; with ``free``, beside all that is reserved now."""
        return room(self.nodes, self.need, free=free)

    def returned(self, held: Mapping[str, int]) -> bool:
        """Whether what workers that ended held is free again; ``held``: their number by the node's id."""
        return returned(self.nodes, held, self.need)

    def choose(self, fits: int) -> int:
        """Choose the number of workers to run where so many fit; 0: too few."""
        threads = 1 if "GPU" in self.need else int(self.need["CPU"])
        return choose(self.size, fits, division.logical_workers(self.config), threads)

    def exclude(self, nodes: Iterable[str]) -> None:
        """Give these nodes no worker for a while."""
        self.excluded |= dict.fromkeys(nodes, time.monotonic() + _EXCLUDED)

    def unusable(self) -> list[str]:
        """Ids of the nodes that are to get no worker."""
        return [node.id for node in self.nodes if not node.usable]
