"""Nodes of a lab: hosts that are made one by one, Ray started on each, and the wait for it."""

import time
from collections.abc import Callable

from cluster.lab import hosts, making, network, processes, state
from cluster.lab.state import HEAD, Node
from ragdist.tools.errors import UserError

_TOO_SLOW = "timed out during startup"  # says Ray of a node after 30 s, however busy the machine is: another try may do


def add(lab: str, identity: str) -> str:
    """Make the next host and start Ray there; the node's name. State is on disk before anything is made.

    Args:
        lab: its name.
        identity: its id.

    Raises:
        UserError: the lab is down, or has as many nodes as its subnet has room for.
    """
    with state.locked():
        values = making.load(lab, identity)
        number = max((node.number + 1 for node in values.nodes.values()), default=0)
        if number > network.MAX_NODES:
            raise UserError(f"a lab has {network.MAX_NODES} nodes at most")
        name = f"node{number}" if number else HEAD
        node = Node(name, number, network.address(values.subnet, number))
        values.nodes[name] = node
        values.save()
        network.make_host(lab, name, values.subnet, number)
        node.process = hosts.start(values, node)
        values.save()
    return name


def wait_until(lab: str, identity: str, done: Callable[[], bool], *, names: list[str], deadline: float) -> None:
    """Wait until ``done()`` is true, while ``ray start`` of some nodes runs.

    Args:
        lab: its name.
        identity: its id.
        done: asked a few times a second.
        names: nodes whose ``ray start`` must run.
        deadline: by time.monotonic().

    Raises:
        UserError: Ray does not start on one of them, or not in time.
    """
    while not done():
        values = making.load(lab, identity)
        for name in names:
            node = values.node(name)
            if processes.alive(node.process):
                continue
            words = processes.last_line(hosts.log(values, node))
            if name == HEAD or _TOO_SLOW not in words:
                raise UserError(f"Ray does not start on {name}: {words}")
            _start_again(lab, identity, name)
        if time.monotonic() > deadline:
            raise UserError(f"Ray is not up in time on all of {', '.join(names)}: is the machine overloaded?")
        time.sleep(0.25)


def _start_again(lab: str, identity: str, name: str) -> None:
    processes.kill_inside(network.file(lab, name))
    with state.locked():
        values = making.load(lab, identity)
        node = values.node(name)
        node.process = hosts.start(values, node)
        values.save()
