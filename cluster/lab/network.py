"""The network: a bridge, and a namespace with one cable to it for each host.

The bridge is in the machine's own namespace, which so reaches all hosts. Names: bridge ``rlab7``, the
cable's end at the bridge ``rlab7n2``, its end in the host ``eth0``, namespace ``ragdist-lab.NAME.node2``.
"""

import ipaddress
import json
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from ragdist.errors import UserError

NAMESPACES = Path("/run/netns")
# A neighbour that does not answer is otherwise forgotten within a minute, and "no route to host" then tells
# at once what a cut cable does not tell.
REMEMBER_NEIGHBOURS_MS = 86_400_000
MAX_NODES = 250


def subnet(number: int) -> ipaddress.IPv4Network:
    """Subnet 0 to 255 of those that labs use."""
    return ipaddress.IPv4Network(f"10.213.{number}.0/24")


def gateway(number: int) -> str:
    """The machine's own address on the bridge."""
    return str(subnet(number)[1])


def address(number: int, node: int) -> str:
    return str(subnet(number)[2 + node])


def bridge(number: int) -> str:
    return f"rlab{number}"


def cable(number: int, node: int) -> str:
    return f"rlab{number}n{node}"


def namespace(lab: str, node: str) -> str:
    return f"ragdist-lab.{lab}.{node}"


def file(lab: str, node: str) -> Path:
    """The file that stands for a host's namespace."""
    return NAMESPACES / namespace(lab, node)


def namespaces(lab: str) -> list[str]:
    """The nodes of which there is a namespace."""
    found = (re.fullmatch(rf"ragdist-lab\.{re.escape(lab)}\.(\w+)", path.name) for path in NAMESPACES.glob("*"))
    return [match[1] for match in found if match]


def run(*command: object) -> str:
    """Run ``ip`` or ``tc`` and return what it prints.

    Raises:
        UserError: it fails; the text is its own.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise UserError(f"`{' '.join(words)}`: {said}")
    return done.stdout


def check_tools() -> None:
    """
    Raises:
        UserError: iproute2 is not there.
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
    links = {link["ifname"] for link in json.loads(run("ip", "-json", "link"))}
    for number in range(256):
        if number in taken or bridge(number) in links:
            continue
        if not any(network.prefixlen and network.overlaps(subnet(number)) for network in used):
            return number
    raise UserError("no free network 10.213.x.0/24 for a lab: all are in use on this machine")


def make_bridge(number: int) -> None:
    name = bridge(number)
    # With an address of its own: a bridge without takes that of a cable, and another when that cable goes.
    run("ip", "link", "add", name, "address", f"02:72:61:67:{number:02x}:ff", "type", "bridge")
    _remember_neighbours("", name)
    run("ip", "address", "add", f"{gateway(number)}/24", "dev", name)
    run("ip", "link", "set", name, "up")


def make_host(lab: str, name: str, number: int, node: int) -> None:
    """Make a host's namespace, with loopback and a cable to the bridge."""
    inside, outside = namespace(lab, name), cable(number, node)
    run("ip", "netns", "add", inside)
    run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", inside)
    _remember_neighbours(inside, "eth0")
    run("ip", "-n", inside, "link", "set", "lo", "up")
    run("ip", "-n", inside, "address", "add", f"{address(number, node)}/24", "dev", "eth0")
    run("ip", "-n", inside, "link", "set", "eth0", "up")
    run("ip", "link", "set", outside, "master", bridge(number), "up")


def _remember_neighbours(inside: str, device: str) -> None:
    path = f"/proc/sys/net/ipv4/neigh/{device}/base_reachable_time_ms"
    if inside:
        run("ip", "netns", "exec", inside, "sh", "-c", f"echo {REMEMBER_NEIGHBOURS_MS} > {path}")
    else:
        Path(path).write_text(str(REMEMBER_NEIGHBOURS_MS))


def plugged(port: str) -> bool:
    """Whether a cable's end is in a bridge."""
    return Path(f"/sys/class/net/{port}/master").exists()


def exists(link: str) -> bool:
    return Path(f"/sys/class/net/{link}").exists()


def unplug(port: str) -> None:
    """Take a cable's end out of the bridge: the host sees a link that is up, and its packets go nowhere."""
    run("ip", "link", "set", port, "nomaster")


def plug(port: str, number: int) -> None:
    run("ip", "link", "set", port, "master", bridge(number))


def remove(lab: str, number: int | None) -> None:
    """Delete a lab's namespaces, cables and bridge, as far as they are there."""
    for node in namespaces(lab):
        with suppress(UserError):
            run("ip", "netns", "del", namespace(lab, node))
    if number is not None:
        links = {link["ifname"] for link in json.loads(run("ip", "-json", "link"))}
        for name in sorted(links):
            if re.fullmatch(rf"{bridge(number)}([nde]\d+)?", name):
                with suppress(UserError):  # it went with its namespace meanwhile
                    run("ip", "link", "del", name)
