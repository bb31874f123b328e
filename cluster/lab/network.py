"""The network of a lab: a switch with a cable (a veth pair) to each host, and one to this machine.

Switch and hosts are network namespaces, ``ragdist-lab.NAME.switch`` and ``ragdist-lab.NAME.node2``. This
machine has one link more, ``rlab7`` of lab number 7. The switch is a namespace of its own because what a bridge
in the machine's passes on may be subject to its firewall, and Docker's rules drop what is not Docker's.
Ports of the bridge in the switch: ``machine``, ``n2`` for node 2, whose end in the host is ``eth0``.
"""

import ipaddress
import json
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from ragdist.tools.errors import UserError

NAMESPACES = Path("/run/netns")
# A neighbour that does not answer is otherwise forgotten within a minute, and "no route to host" then tells
# at once what a cut cable does not tell.
REMEMBER_NEIGHBOURS_MS = "86400000"
SWITCH = "switch"
BRIDGE = "bridge"
MAX_NODES = 250


def subnet(number: int) -> ipaddress.IPv4Network:
    """Subnet 0 to 255 of those that labs use."""
    return ipaddress.IPv4Network(f"10.213.{number}.0/24")


def gateway(number: int) -> str:
    """This machine's own address in the lab."""
    return str(subnet(number)[1])


def address(number: int, node: int) -> str:
    """The IP address of a node, by its number, in subnet ``number``."""
    return str(subnet(number)[2 + node])


def link(number: int) -> str:
    """This machine's link to the switch."""
    return f"rlab{number}"


def port(node: int) -> str:
    """The end of a host's cable at the switch."""
    return f"n{node}"


def namespace(lab: str, node: str) -> str:
    """The name of a host's network namespace."""
    return f"ragdist-lab.{lab}.{node}"


def file(lab: str, node: str) -> Path:
    """The file of a host's namespace."""
    return NAMESPACES / namespace(lab, node)


def namespaces(lab: str) -> list[str]:
    """Names of the nodes of a lab that have a namespace, and of the switch where that has one."""
    found = (re.fullmatch(rf"ragdist-lab\.{re.escape(lab)}\.(\w+)", path.name) for path in NAMESPACES.glob("*"))
    return [match[1] for match in found if match]


def run(*command: object) -> str:
    """Run ``ip`` or ``tc`` and return its output.

    Raises:
        UserError: it fails, with its own message.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise UserError(f"`{' '.join(words)}`: {said}")
    return done.stdout


def at_switch(lab: str, *command: object) -> str:
    """Run ``ip`` at the switch.

    Raises:
        UserError: it fails.
    """
    return run("ip", "-n", namespace(lab, SWITCH), *command)


def check_tools() -> None:
    """Check that ``ip`` and ``tc`` are installed.

    Raises:
        UserError: the package iproute2 is missing.
    """
    for tool in ("ip", "tc"):
        if not shutil.which(tool):
            raise UserError(f"the lab needs the command `{tool}`: install the package iproute2")


def free_subnet(taken: set[int]) -> int:
    """The first subnet that no lab has and no route or address of this machine touches.

    Raises:
        UserError: there is none.
    """
    used = []
    for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all")):
        with suppress(ValueError):  # "default"
            used.append(ipaddress.ip_network(route["dst"], strict=False))
    links = {entry["ifname"] for entry in json.loads(run("ip", "-json", "link"))}
    for number in range(256):
        if number in taken or link(number) in links:
            continue
        if not any(network.prefixlen and network.overlaps(subnet(number)) for network in used):
            return number
    raise UserError("no free network 10.213.x.0/24 for a lab: all are in use on this machine")


def make_switch(lab: str, number: int) -> None:
    """Make the switch and this machine's cable to it."""
    switch, own = namespace(lab, SWITCH), link(number)
    run("ip", "netns", "add", switch)
    at_switch(lab, "link", "add", BRIDGE, "type", "bridge")
    at_switch(lab, "link", "set", BRIDGE, "up")
    run("ip", "link", "add", own, "type", "veth", "peer", "name", "machine", "netns", switch)
    at_switch(lab, "link", "set", "machine", "master", BRIDGE, "up")
    _neighbour_file(own).write_text(REMEMBER_NEIGHBOURS_MS)
    run("ip", "address", "add", f"{gateway(number)}/24", "dev", own)
    run("ip", "link", "set", own, "up")


def make_host(lab: str, name: str, number: int, node: int) -> None:
    """Make a host's namespace, with loopback and a cable to the switch.

    There is no default route: behind one that leads nowhere Ray's dashboard waits ten seconds for a cloud's
    metadata server, which without one it gives up at once.
    """
    inside = namespace(lab, name)
    run("ip", "netns", "add", inside)
    at_switch(lab, "link", "add", port(node), "type", "veth", "peer", "name", "eth0", "netns", inside)
    remember = f"echo {REMEMBER_NEIGHBOURS_MS} > {_neighbour_file('eth0')}"
    run("ip", "netns", "exec", inside, "sh", "-c", remember)
    run("ip", "-n", inside, "link", "set", "lo", "up")
    run("ip", "-n", inside, "address", "add", f"{address(number, node)}/24", "dev", "eth0")
    run("ip", "-n", inside, "link", "set", "eth0", "up")
    at_switch(lab, "link", "set", port(node), "up")
    plug(lab, port(node))


def _neighbour_file(device: str) -> Path:
    return Path(f"/proc/sys/net/ipv4/neigh/{device}/base_reachable_time_ms")


def plugged(lab: str, name: str) -> bool:
    """Whether a cable's end is in the bridge."""
    return json.loads(at_switch(lab, "-json", "link", "show", name))[0].get("master") == BRIDGE


def unplug(lab: str, name: str) -> None:
    """Take a cable's end out of the bridge: the host sees a link that is up, and its packets go nowhere."""
    at_switch(lab, "link", "set", name, "nomaster")


def plug(lab: str, name: str) -> None:
    at_switch(lab, "link", "set", name, "master", BRIDGE)


def remove(lab: str, number: int | None) -> None:
    """Delete a lab's namespaces and this machine's link to it, as far as they are there."""
    for node in namespaces(lab):
        with suppress(UserError):
            run("ip", "netns", "del", namespace(lab, node))
    if number is not None:
        with suppress(UserError):
            run("ip", "link", "del", link(number))
