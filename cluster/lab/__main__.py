"""``python -m cluster.lab COMMAND``: a Ray cluster of several hosts on this machine."""

import re
import shlex
import time

from cluster.lab import hosts
from cluster.lab.lab import Lab
from cluster.lab.making import take_down
from ragdist.config import cli
from ragdist.tools.errors import UserError, nearest, run_command

PROG = "python -m cluster.lab"


def main(argv: list[str] | None = None) -> int | None:
    argv = cli.arguments() if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {PROG} COMMAND [--name LAB] ...; each command has its own --help\n\ncommands:")
        for name, command in COMMANDS.items():
            print(f"  {name:<9}{command.__doc__}")
        return None
    if argv[0] not in COMMANDS:
        raise UserError(f"{PROG} {argv[0]}: no such command{nearest(argv[0], COMMANDS)}")
    return COMMANDS[argv[0]](argv[1:])


def _parser(command: str, *, node: bool = False) -> cli.Parser:
    parser = cli.Parser(prog=f"{PROG} {command}", description=COMMANDS[command].__doc__)
    if node:
        parser.add_argument("node", help="head, node1, node2, ...")
    parser.add_argument("--name", type=str, default="lab", help="of the lab; several live side by side")
    return parser


def up(argv: list[str]) -> None:
    """Make a lab: a head without CPUs for tasks, and workers."""
    parser = _parser("up")
    parser.add_argument("--nodes", type=int, default=2, help="workers, beside the head")
    parser.add_argument("--cpus", type=int, default=1, help="that Ray is told each worker has")
    parser.add_argument("--notice", type=float, default=30, help="seconds that a preempted node has until its end")
    parser.add_argument("--object_store", type=int, default=100_000_000, help="bytes of a node's object store")
    parser.add_argument(
        "--env", action="append", default=[], metavar="KEY=VALUE", help="variable of all hosts; repeatable"
    )
    parser.add_argument("--owner", type=int | None, help="PID of a process whose end takes the lab down")
    values = parser.parse_args(argv)
    pairs = [_pair(text) for text in values.env]
    begin = time.monotonic()
    lab = Lab.up(
        values.name,
        nodes=values.nodes,
        cpus=values.cpus,
        notice=values.notice,
        object_store=values.object_store,
        environment=dict(pairs),
        owner=values.owner,
        say=lambda line: print(line, flush=True),
    )
    option = "" if values.name == "lab" else f" --name {values.name}"
    print(f"the lab '{lab.name}' is up after {time.monotonic() - begin:.1f} s; to use it from this machine:")
    print("\n".join(f"  {line}" for line in _exports(lab)))
    print("  ray job submit -- python -c 'import ray; ray.init(); print(ray.cluster_resources())'")
    print(f"in a host:   {PROG} exec node1{option} -- COMMAND")
    print(f"take it down: {PROG} down{option}")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UserError(f"--env {text}: KEY=VALUE, please")
    return key, value


def _exports(lab: Lab) -> list[str]:
    lines = [f"export {key}={shlex.quote(value)}" for key, value in lab.environment().items()]
    return ["unset RAY_AUTH_TOKEN", *lines]  # it would win over the path


def env(argv: list[str]) -> None:
    """Print the variables with which a shell reaches the cluster: eval "$(python -m cluster.lab env)"."""
    values = _parser("env").parse_args(argv)
    print("\n".join(_exports(Lab(values.name))))


def execute(argv: list[str]) -> int:
    """NODE -- COMMAND...: run a command on a host, with the lab's environment."""
    own, dashes, command = argv, "", []
    if "--" in argv:
        at = argv.index("--")
        own, dashes, command = argv[:at], argv[at], argv[at + 1 :]
    values = _parser("exec", node=True).parse_args(own)
    if not dashes or not command:
        raise UserError(f"{PROG} exec {values.node} -- COMMAND: the command is missing")
    with Lab(values.name).popen(values.node, command) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # the command has got it, too, and decides
                continue
    return code if code >= 0 else 128 - code


def kill(argv: list[str]) -> None:
    """NODE: kill all processes on a host at once by SIGKILL, like a power failure."""
    values = _parser("kill", node=True).parse_args(argv)
    Lab(values.name).kill(values.node)


def cut(argv: list[str]) -> None:
    """NODE: cut a host off from the network: packets are lost, processes keep running."""
    values = _parser("cut", node=True).parse_args(argv)
    Lab(values.name).cut(values.node)


def heal(argv: list[str]) -> None:
    """NODE: connect a host to the network again."""
    values = _parser("heal", node=True).parse_args(argv)
    Lab(values.name).heal(values.node)


def slow(argv: list[str]) -> None:
    """NODE: delay a host's packets and limit their rate, each way; without options remove all limits."""
    parser = _parser("slow", node=True)
    parser.add_argument("--delay", type=str, default="0", help="each way, such as 20ms or 0.1s")
    parser.add_argument("--rate", type=str | None, help="each way, such as 100mbit or 1gbit")
    values = parser.parse_args(argv)
    rate = None if values.rate is None else _number("--rate", values.rate, RATES)
    Lab(values.name).slow(values.node, delay=_number("--delay", values.delay, TIMES), rate=rate)


TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
RATES = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


def _number(option: str, text: str, units: dict[str, float]) -> float:
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(units)})", text.lower())
    if found:
        return float(found[1]) * units[found[2]]
    if text == "0":
        return 0.0
    raise UserError(f"{option} {text}: a number with one of the units {', '.join(units)}, please")


def preempt(argv: list[str]) -> None:
    """NODE: send SIGTERM to `ray start`, as a cloud does before it takes a machine back; the node drains."""
    values = _parser("preempt", node=True).parse_args(argv)
    Lab(values.name).preempt(values.node)


def add(argv: list[str]) -> None:
    """Add a worker with the next number."""
    values = _parser("add").parse_args(argv)
    lab = Lab(values.name)
    begin = time.monotonic()
    name = lab.add()
    print(f"{name}: alive at {lab.address(name)} after {time.monotonic() - begin:.1f} s")


def status(argv: list[str]) -> None:
    """List the nodes: whether each is alive, how many processes run there, and the condition of its link."""
    values = _parser("status").parse_args(argv)
    lab = Lab(values.name)
    known = lab.known()
    print(f"{'node':<8} {'address':<15} {'in GCS':<7} {'processes':>9}  cable")
    for name in [lab.head, *lab.nodes]:
        said = "?" if known is None else known.get(name, "unknown").lower()
        print(f"{name:<8} {lab.address(name):<15} {said:<7} {len(lab.pids(name)):>9}  {lab.cable(name)}")
    if known is None:
        print(f"the head's dashboard does not answer at {hosts.head_address(lab.state)}:{hosts.DASHBOARD_PORT}")


def down(argv: list[str]) -> None:
    """Kill and delete all of a lab; a second time is no error."""
    values = _parser("down").parse_args(argv)
    print(f"the lab '{values.name}' is down" if take_down(values.name) else f"there is no lab '{values.name}'")


COMMANDS = {
    "up": up,
    "status": status,
    "env": env,
    "exec": execute,
    "kill": kill,
    "cut": cut,
    "heal": heal,
    "slow": slow,
    "preempt": preempt,
    "add": add,
    "down": down,
}


if __name__ == "__main__":
    run_command(main)
