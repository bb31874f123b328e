"""Delay and rate of a host's cable, in both directions.

The kernel's netem delays where it is built in. Elsewhere the cable gets a detour through `relay`: instead of
the cable's end ``n2`` the bridge holds ``d2``, whose other end ``e2`` the relay reads, as it does ``n2``.
"""

import signal
import time
from contextlib import suppress

from cluster.lab import hosts, network, processes
from cluster.lab.network import run
from cluster.lab.state import Node, State
from ragdist.tools.errors import UserError


def port(node: Node) -> str:
    """The link by which a host is attached to the bridge."""
    return _detour(node)[0] if node.relay else network.port(node.number)


def change(state: State, node: Node, delay: float, rate: float | None) -> None:
    """Give a host's cable a delay in seconds and a rate in bits per second, each way; a cut one stays cut.

    Raises:
        UserError: ``tc`` or ``ip`` refuses.
    """
    plugged = network.plugged(state.name, port(node))
    _take_away(state, node, plugged)
    if delay and not _netem(state, node, delay, rate):
        _relay(state, node, delay, plugged)
    if rate is not None and (node.relay or not delay):
        # The bucket must hold what the rate lets through between two ticks, and one 64 KiB segment.
        burst = max(70_000, int(rate / 8 / 250))
        _add(state, node, "tbf", "rate", f"{int(rate)}bit", "burst", burst, "latency", "200ms")
    node.delay, node.rate = delay, rate


def _ends(node: Node) -> list[tuple[str, str]]:
    """(namespace, link) of the queues for packets to a host and from it."""
    return [(network.SWITCH, network.port(node.number)), (node.name, "eth0")]


def _add(state: State, node: Node, *queue: object) -> None:
    for end, device in _ends(node):
        run("tc", "-n", network.namespace(state.name, end), "qdisc", "add", "dev", device, "root", *queue)


def _netem(state: State, node: Node, delay: float, rate: float | None) -> bool:
    """Set delay and rate by netem; whether the kernel has it."""
    limits = ["delay", f"{int(delay * 1e6)}us", "limit", 100_000]
    limits += [] if rate is None else ["rate", f"{int(rate)}bit"]
    try:
        _add(state, node, "netem", *limits)
    except UserError as error:
        if "unknown" not in str(error):
            raise
        return False
    return True


def _take_away(state: State, node: Node, plugged: bool) -> None:
    for end, device in _ends(node):
        with suppress(UserError):  # there is none
            run("tc", "-n", network.namespace(state.name, end), "qdisc", "del", "dev", device, "root")
    if node.relay:
        processes.send(node.relay, signal.SIGKILL)
        with suppress(UserError):
            network.at_switch(state.name, "link", "del", _detour(node)[0])
        node.relay = None
        if plugged:
            network.plug(state.name, network.port(node.number))


def _detour(node: Node) -> tuple[str, str]:
    return f"d{node.number}", f"e{node.number}"


def _relay(state: State, node: Node, delay: float, plugged: bool) -> None:
    cable, (outer, inner) = network.port(node.number), _detour(node)
    network.at_switch(state.name, "link", "add", outer, "type", "veth", "peer", "name", inner)
    for name in (outer, inner):
        network.at_switch(state.name, "link", "set", name, "up")
    network.unplug(state.name, cable)
    log = state.folder / f"{node.name}.relay.log"
    argv = hosts.inside(state.name, network.SWITCH, processes.module("cluster.lab.relay", cable, inner, delay))
    node.relay = processes.spawn(argv, log, processes.environment())
    while "ready" not in log.read_text():
        if not processes.alive(node.relay):
            raise UserError(f"the relay of {node.name} does not start: {processes.last_line(log)}")
        time.sleep(0.02)
    if plugged:
        network.plug(state.name, outer)
