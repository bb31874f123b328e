"""The Ray cluster: connecting to it, and its nodes."""

import functools
import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import ray

from ragdist.launch.on_ray import ray_internals
from ragdist.launch.on_ray.capacity import Node
from ragdist.tools.errors import UserError

_CONNECT = 15.0  # seconds within which the cluster's address answers
_ANSWER = 2.0  # seconds within which a node's raylet accepts a connection
_STARTS = 2  # of a private cluster


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine.

    Raises:
        UserError: the cluster cannot be reached, or the installed Ray is too old.
    """
    _check_version(ray.__version__)
    ray_internals.silence()
    # Nothing of Ray's and the workers' output: it is in Ray's logs, and what matters comes through the mailbox.
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            host, _, port = address.rpartition(":")
            if host and port.isdigit() and "/" not in host:  # else Ray tries for minutes
                socket.create_connection((host, int(port)), timeout=_CONNECT).close()
            ray.init(**quiet)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            what = str(error).strip().splitlines()[0]
            raise UserError(
                f"no Ray cluster at RAY_ADDRESS {address} ({what}): start one, or unset RAY_ADDRESS to train on this "
                "machine"
            ) from error
        return
    for left in reversed(range(_STARTS)):
        try:
            ray.init(address="local", include_dashboard=False, **quiet)
            return
        except Exception as error:  # Ray raises bare ones where its processes do not start in time
            if left and ray_internals.TOO_SLOW in str(error):
                continue  # what is there of it ends with this process
            what = str(error).strip().splitlines()[0][:300]
            raise UserError(
                f"Ray did not start on this machine ({what}): it may be overloaded or short of memory or of room in "
                "/tmp; try again, or give --workers 0 to train in this process"
            ) from error


@functools.cache
def _check_version(release: str) -> None:
    """Refuse a Ray that is too old; say once that one is newer than the tests know."""
    if ray_internals.too_old(release):
        oldest = ".".join(map(str, ray_internals.OLDEST))
        raise UserError(
            f"Ray {release} is too old: {oldest} or later is needed, the same on all nodes: pip install "
            f"'ray[default,train,tune]>={oldest}'"
        )
    if ray_internals.untested(release):
        newest = ".".join(map(str, ray_internals.NEWEST))
        print(f"Ray {release} is newer than {newest}, the newest that was tested", flush=True)


def nodes() -> list[Node]:
    """List the nodes; the dead, the leaving and those that do not answer are not usable."""
    found = [node for node in ray.nodes() if node["Alive"]]
    leaving = draining()
    free = ray_internals.free_resources()
    with ThreadPoolExecutor(min(32, len(found) or 1)) as pool:
        answers = list(pool.map(_answers, found))
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["Resources"],
            free.get(node["NodeID"], {}),
            usable=answer and node["NodeID"] not in leaving,
        )
        for node, answer in zip(found, answers, strict=True)
    ]


def can_grow_gpus() -> bool:
    """Whether the cluster's autoscaler can add nodes with GPUs."""
    return (ray_internals.largest_cluster() or {}).get("GPU", 0) > 0


def draining() -> set[str]:
    """Ids of nodes that were told to go: preempted, or scaled down."""
    return set(ray_internals.draining_nodes() or ())


def _answers(node: dict) -> bool:
    # The cluster's own view is seconds behind; a connection to a dead node is refused, to one cut off it hangs.
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=_ANSWER).close()
    except OSError:
        return False
    return True
