"""How fast a host's cable is: delay and rate, in both directions.

The kernel's netem delays where it is built in. Elsewhere the cable gets a detour through `relay`: instead of
the cable's end ``rlab7n2`` the bridge holds ``rlab7d2``, whose other end ``rlab7e2`` the relay reads.
"""

import signal
import time
from contextlib import suppress

from cluster.lab import network, processes
from cluster.lab.network import run
from cluster.lab.state import Node, State
from ragdist.errors import UserError


def port(state: State, node: Node) -> str:
    """The link of a host that belongs into the bridge."""
    return _detour(state, node)[0] if node.relay else network.cable(state.subnet, node.number)


def change(state: State, node: Node, delay: float, rate: float | None) -> None:
    """Give a host's cable a delay in seconds and a rate in bits per second, each way; a cut one stays cut.

    Raises:
        UserError: ``tc`` or ``ip`` refuses.
    """
    cable = network.cable(state.subnet, node.number)
    plugged = network.plugged(port(state, node))
    _take_away(state, node, plugged)
    ends = [(("tc",), cable), (("tc", "-n", network.namespace(state.name, node.name)), "eth0")]
    if delay and not _netem(ends, delay, rate):
        _relay(state, node, delay, plugged)
    if rate is not None and (node.relay or not delay):
        for command, device in ends:
            # The bucket must hold what the rate lets through between two ticks, and one 64 KiB segment.
            burst = max(70_000, int(rate / 8 / 250))
            limits = ["rate", f"{int(rate)}bit", "burst", burst, "latency", "200ms"]
            run(*command, "qdisc", "add", "dev", device, "root", "tbf", *limits)
    node.delay, node.rate = delay, rate


def _netem(ends: list[tuple[tuple[str, ...], str]], delay: float, rate: float | None) -> bool:
    """Whether the kernel has netem; if so, it is set."""
    limits = ["delay", f"{int(delay * 1e6)}us", "limit", 100_000]
    limits += [] if rate is None else ["rate", f"{int(rate)}bit"]
    for command, device in ends:
        try:
            run(*command, "qdisc", "add", "dev", device, "root", "netem", *limits)
        except UserError as error:
            if "unknown" not in str(error):
                raise
            return False
    return True


def _take_away(state: State, node: Node, plugged: bool) -> None:
    cable = network.cable(state.subnet, node.number)
    for command in (("tc",), ("tc", "-n", network.namespace(state.name, node.name))):
        with suppress(UserError):  # there is none
            run(*command, "qdisc", "del", "dev", cable if command == ("tc",) else "eth0", "root")
    if node.relay:
        processes.send(node.relay, signal.SIGKILL)
        with suppress(UserError):
            run("ip", "link", "del", _detour(state, node)[0])
        node.relay = None
        run("ip", "link", "set", cable, "arp", "on")
        if plugged:
            network.plug(cable, state.subnet)


def _detour(state: State, node: Node) -> tuple[str, str]:
    return f"{network.bridge(state.subnet)}d{node.number}", f"{network.bridge(state.subnet)}e{node.number}"


def _relay(state: State, node: Node, delay: float, plugged: bool) -> None:
    cable = network.cable(state.subnet, node.number)
    outer, inner = _detour(state, node)
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
    # The machine's own kernel sees these two, too, and must not answer for the hosts behind them.
    for link in (cable, inner):
        run("ip", "link", "set", link, "arp", "off")
    for link in (outer, inner):
        run("ip", "link", "set", link, "up")
    network.unplug(cable)
    log = state.folder / f"{node.name}.relay.log"
    node.relay = processes.spawn_module("cluster.lab.relay", cable, inner, delay, log=log)
    while "ready" not in log.read_text():
        if not processes.alive(node.relay):
            raise UserError(f"the relay of {node.name} does not start: {processes.last_words(log)}")
        time.sleep(0.02)
    if plugged:
        network.plug(outer, state.subnet)
