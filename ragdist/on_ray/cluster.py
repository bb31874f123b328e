"""The Ray cluster as the driver sees it: connecting, and what is known of its nodes."""

import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import ray
import ray._private.worker
from ray._private.state import state as _state

from ragdist.errors import UserError
from ragdist.on_ray.capacity import Node

_CONNECT = 15.0  # seconds within which the cluster's address answers
_ANSWER = 2.0  # seconds within which a node's raylet accepts a connection
_STARTS = 2  # of a private cluster
_TOO_SLOW = "timed out during startup"  # says Ray after 30 s, however busy the machine is


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine.

    Raises:
        UserError: the cluster cannot be reached.
    """
    # Dead workers are reported by a thread of Ray that knows no level; the driver has a line for them.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    # Nothing of Ray's and the workers' output: it is in Ray's logs, and what matters comes over the desk.
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
            if left and _TOO_SLOW in str(error):
                continue  # what is there of it ends with this process
            what = str(error).strip().splitlines()[0][:300]
            raise UserError(
                f"Ray did not start on this machine ({what}): it may be overloaded or short of memory or of room in "
                "/tmp; try again, or give --workers 0 to train in this process"
            ) from error


def nodes() -> list[Node]:
    """All nodes that are known; the dead, the leaving and those that do not answer are not usable."""
    found = [node for node in ray.nodes() if node["Alive"]]
    leaving = draining()
    free = _state.available_resources_per_node()
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
    return (_state.get_max_resources_from_cluster_config() or {}).get("GPU", 0) > 0


def end_controllers() -> None:
    """Kill this driver's Ray Train controllers, so that what waits for them in a thread returns."""
    worker = ray._private.worker.global_worker
    for actor in ray._private.state.actors(job_id=worker.current_job_id).values():
        if actor["ActorClassName"] == "TrainController" and actor["State"] != "DEAD":
            worker.core_worker.kill_actor(ray.ActorID.from_hex(actor["ActorID"]), True)


def draining() -> set[str]:
    """Ids of nodes that were told to go: preempted, or scaled down."""
    return set(_state.get_draining_nodes() or ())


def _answers(node: dict) -> bool:
    # The cluster's own view is seconds behind; a connection to a dead node is refused, to one cut off it hangs.
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=_ANSWER).close()
    except OSError:
        return False
    return True
