"""Making of a lab without its nodes, owned by a process from the start, and removal in whatever state it is."""

import importlib.util
import os
import secrets
import signal
import sys

from cluster.lab import network, processes, state
from cluster.lab.state import State
from ragdist.tools.errors import UserError


def check_machine() -> None:
    """Check that this machine can have a lab.

    Raises:
        UserError: a lab cannot be made here.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise UserError("the lab needs Linux and root: it makes network namespaces")
    network.check_tools()
    if importlib.util.find_spec("ray") is None:
        raise UserError("the lab needs Ray, which is not installed here: pip install 'ray[default]'")


def check_ranges(nodes: int, cpus: int, notice: float, object_store: int) -> None:
    """Check that the options of a lab are in range.

    Args:
        nodes: workers.
        cpus: of each.
        notice: seconds between a preempted node's SIGTERM and its end.
        object_store: bytes of each node's.

    Raises:
        UserError: naming the option.
    """
    for option, value, least, most in (
        ("--nodes", nodes, 0, network.MAX_NODES),
        ("--cpus", cpus, 0, 10_000),
        ("--notice", notice, 0, 86_400),
        ("--object_store", object_store, 75 * 2**20, 2**40),
    ):
        if not least <= value <= most:
            raise UserError(f"{option} {value}: {least:,} to {most:,}, please")


def load(name: str, identity: str | None = None) -> State:
    """Load the state of the lab of that name.

    Args:
        name: of the lab.
        identity: its id, where it must be one lab and no later one of that name.

    Raises:
        UserError: there is none.
    """
    values = state.load(name)
    if values is None:
        known = ", ".join(state.names())
        raise UserError(f"no lab '{name}'; " + (f"there are: {known}" if known else "there is none"))
    if identity and values.id != identity:
        raise UserError(f"the lab '{name}' is another one meanwhile: this one is down")
    return values


def begin(values: State, owner: list[int] | None) -> None:
    """Make a lab's folder, token, watcher and switch, in this order: one that is half made has an owner already.

    Args:
        values: the state of the lab, which gets a subnet.
        owner: identity of the process whose end takes the lab down (`processes.identity`); None: no process.

    Raises:
        UserError: it is up already, or no subnet is free.
    """
    old = state.load(values.name)
    if old and network.namespaces(values.name):
        raise UserError(f"the lab '{values.name}' is up already: `python -m cluster.lab down` takes it down")
    _clear(values.name)
    try:
        _lay(values, owner)
    except BaseException:
        _clear(values.name)
        raise


def _lay(values: State, owner: list[int] | None) -> None:
    values.subnet = network.free_subnet({load(name).subnet for name in state.names()})
    values.folder.mkdir(mode=0o700)
    state.write_token(values.token, secrets.token_hex(32))
    values.save()
    if owner:
        log = values.folder / "watcher.log"
        argv = processes.module("cluster.lab.watcher", values.name, values.id, *owner)
        values.watcher = processes.spawn(argv, log, processes.environment())
        values.save()
    network.make_switch(values.name, values.subnet)


def take_down(name: str, only: str | None = None) -> bool:
    """Kill and delete all of a lab, also one that is half made; whether there was one.

    Args:
        name: of the lab.
        only: its id: a later lab of the same name stays.
    """
    check_machine()
    state.check_name(name)
    with state.locked():
        values = state.load(name)
        if only and values and values.id != only:
            return False
        return _clear(name)


def _clear(name: str) -> bool:
    values = state.load(name)
    if values and values.watcher and values.watcher[0] != os.getpid():
        processes.send(values.watcher, signal.SIGKILL)
    there = network.namespaces(name)
    for node in there:
        processes.kill_inside(network.file(name, node))
    network.remove(name, values.subnet if values else None)
    state.remove(name)
    processes.reap()
    return bool(values or there)
