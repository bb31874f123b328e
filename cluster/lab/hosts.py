"""The Ray processes of a host, and the environment of everything that runs on it."""

import json
import os
import shlex
import subprocess
from pathlib import Path

from cluster.lab import network, processes
from cluster.lab.state import HEAD, Node, State

GCS_PORT = 6379
DASHBOARD_PORT = 8265
# GCS asks each raylet every period and calls it dead after that many misses in a row. Ray's own numbers take
# more than a minute to notice, too long for a test and for most demos.
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
DRAINS_ON_SIGTERM = (2, 57)  # the first Ray whose `ray start` does


def ray(state: State) -> list[str]:
    """The command ``ray``, as words of a command line."""
    return [state.python, "-c", "from ray.scripts.scripts import main; main()"]


def head_address(state: State) -> str:
    """The head's IP address."""
    return network.address(state.subnet, 0)


def client(state: State) -> dict[str, str]:
    """Environment variables with which a Ray client on the machine itself, such as ``ray job submit``, connects."""
    return {
        "RAY_ADDRESS": f"http://{head_address(state)}:{DASHBOARD_PORT}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token),
    }


def environment(state: State) -> dict[str, str]:
    """The environment of a host's processes: this process's, without its Ray settings."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    paths = [str(processes.CHECKOUT), *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    return inherited | {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "RAY_ADDRESS": f"{head_address(state)}:{GCS_PORT}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(state.notice),
        # gloo would ask what the host's name stands for, and that is the machine's name and loopback.
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_SOCKET_IFNAME": "eth0",
        **state.environment,
    }


def command(state: State, node: Node) -> list[str]:
    """The command line of a node's ``ray start``."""
    # Each host has its own folder: nodes that share one guess each other's socket names when started at once.
    start = [*ray(state), "start", "--block"]
    start += [f"--node-ip-address={node.address}", f"--node-name={node.name}"]
    start += [f"--temp-dir={state.folder / node.name}", f"--object-store-memory={state.object_store}"]
    start += ["--num-gpus=0"]  # each host would claim all that this machine has
    if node.name != HEAD:
        return [*start, f"--address={head_address(state)}:{GCS_PORT}", f"--num-cpus={state.cpus:g}"]
    start += ["--head", f"--port={GCS_PORT}", "--num-cpus=0", "--disable-usage-stats"]
    start += [f"--dashboard-host={node.address}", f"--dashboard-port={DASHBOARD_PORT}"]
    return [*start, f"--system-config={json.dumps(HEALTH_CHECKS)}"]


def log(state: State, node: Node) -> Path:
    """The file with the output of a node's ``ray start``."""
    return state.folder / f"{node.name}.log"


def start(state: State, node: Node) -> list[int]:
    """Start a node's Ray, which outlives this process; the identity of its ``ray start`` (`processes.identity`)."""
    variables = environment(state)
    variables.pop("RAY_ADDRESS")  # `ray start` takes an address from there although it is given another
    return processes.spawn(inside(state.name, node.name, command(state, node)), log(state, node), variables)


def drains_on_sigterm(state: State) -> bool:
    """Whether `ray start` of the hosts' Ray drains its node on SIGTERM; an older one ends at once."""
    return _ray_version(state) >= DRAINS_ON_SIGTERM


def notice(state: State, node: Node, node_id: str) -> list[str]:
    """The command line that drains a node of this id and ends it after the notice, for a Ray that does not on SIGTERM.

    Without an id it would drain the node that its client finds, which may be another.
    """
    drain = [*ray(state), "drain-node", "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=notice"]
    drain += [f"--deadline-remaining-seconds={int(state.notice)}", f"--node-id={node_id}"]
    return ["bash", "-c", f"{shlex.join(drain)}; sleep {state.notice}; kill -TERM {node.process[0]}"]


def _ray_version(state: State) -> tuple[int, ...]:
    """Major and minor version of the hosts' Ray, which need not be this interpreter's."""
    argv = [state.python, "-c", "from importlib.metadata import version; print(version('ray'))"]
    said = subprocess.run(argv, env=environment(state), stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(int(part) for part in said.split(".")[:2])


def inside(lab: str, node: str, argv: list[str]) -> list[str]:
    """A command line that runs another one in a host's namespace, under the same PID."""
    return ["ip", "netns", "exec", network.namespace(lab, node), *argv]
