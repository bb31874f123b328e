"""The lab as an object: make it, hurt it, take it down."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from cluster.lab import dashboard, hosts, making, network, processes, speed, state
from cluster.lab.state import HEAD, Node, State
from ragdist.tools.errors import UserError

_TOO_SLOW = "timed out during startup"  # says Ray of a node after 30 s, however busy the machine is: another try may do

THIS_PROCESS = 0
STARTING_SECONDS = 2.0  # a dashboard that is still starting may leave a question unanswered


class Lab:
    """A lab that is up. All methods can be called from any process of root; none of it is cached.

    As a context manager it takes itself down at the end. Seconds are real time; node names are ``head``,
    ``node1``, ``node2``, ...
    """

    def __init__(self, name: str = "lab"):
        """
        Raises:
            UserError: there is no such lab, or this machine can have none.
        """
        making.check_machine()
        self.name = name
        self.id = making.load(name).id

    @classmethod
    def up(
        cls,
        name: str = "lab",
        *,
        nodes: int = 2,
        cpus: int = 1,
        notice: float = 30.0,
        object_store: int = 100_000_000,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
        owner: int | None = THIS_PROCESS,
        seconds: float = 120.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> "Lab":
        """Make a lab and wait until all its nodes are alive.

        Args:
            name: several labs of different names live side by side.
            nodes: workers, beside the head, which has no CPUs for tasks.
            cpus: that Ray is told each worker has, however many the machine has.
            notice: seconds that a preempted node has between SIGTERM and its end.
            object_store: bytes of each node's object store, 75 MiB at least.
            environment: additional variables of all processes on all hosts.
            python: the interpreter that runs Ray on all hosts.
            owner: PID of the process whose end, of whatever kind, takes the lab down; None for no one.
            seconds: until which all must be alive.
            say: is called with a line of progress.

        Raises:
            UserError: it is up already, this machine can have none, or Ray does not start.
        """
        making.check_machine()
        state.check_name(name)
        making.check_ranges(nodes, cpus, notice, object_store)
        begin = time.monotonic()
        try:
            owned = None if owner is None else processes.identity(owner or os.getpid())
        except ProcessLookupError:
            raise UserError(f"--owner {owner}: there is no such process") from None
        values = State(name, secrets.token_hex(8), 0, cpus, notice, object_store, dict(environment or {}), python)
        with state.locked():
            making.begin(values, owned)
        lab = cls(name)
        try:
            lab._start()
            lab._until(lambda: dashboard.answers(hosts.head_address(values), hosts.GCS_PORT), [HEAD], begin + seconds)
            say(f"head: GCS answers after {time.monotonic() - begin:.1f} s")
            for _ in range(nodes):
                lab._start()
            seen: set[str] = set()
            everyone = [HEAD, *lab.nodes]

            def complete() -> bool:
                for node, known in (lab.known(STARTING_SECONDS) or {}).items():
                    if known == "ALIVE" and node not in seen:
                        seen.add(node)
                        say(f"{node}: alive after {time.monotonic() - begin:.1f} s")
                return seen.issuperset(everyone)

            lab._until(complete, everyone, begin + seconds)
        except BaseException:
            lab.down()
            raise
        return lab

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # What there is

    @property
    def state(self) -> State:
        """What is on disk now.

        Raises:
            UserError: the lab is down.
        """
        values = making.load(self.name)
        if values.id != self.id:
            raise UserError(f"the lab '{self.name}' is another one meanwhile: this one is down")
        return values

    @property
    def head(self) -> str:
        return HEAD

    @property
    def nodes(self) -> list[str]:
        """The names of all workers, dead ones too."""
        return [name for name in self.state.nodes if name != HEAD]

    def address(self, name: str) -> str:
        """A host's IP address."""
        return self.state.node(name).address

    def pids(self, name: str) -> list[int]:
        """The processes on a host."""
        self.state.node(name)
        return processes.inside(network.file(self.name, name))

    def known(self, seconds: float = 10.0) -> dict[str, str] | None:
        """ "ALIVE" or "DEAD" of each node that GCS has seen; None if the head does not answer in so many seconds."""
        values = self.state
        found = dashboard.nodes(hosts.head_address(values), hosts.DASHBOARD_PORT, values.token, seconds)
        if found is None:
            return None
        return {name: found[node.address] for name, node in values.nodes.items() if node.address in found}

    def alive(self) -> list[str]:
        """The nodes that GCS holds for alive, in order; none if the head does not answer."""
        return [name for name, known in (self.known() or {}).items() if known == "ALIVE"]

    def wait_for(self, name: str, *, alive: bool, seconds: float = 60.0) -> float:
        """Wait until GCS holds a node for alive, or for dead; the seconds that it took.

        Raises:
            TimeoutError: it does not.
        """
        begin = time.monotonic()
        while (known := self.known()) is None or (known.get(name) == "ALIVE") != alive:
            if time.monotonic() - begin > seconds:
                raise TimeoutError(f"{name} is {'not alive' if alive else 'still alive'} after {seconds:.0f} s")
            time.sleep(0.2)
        return time.monotonic() - begin

    def cable(self, name: str) -> str:
        """How a host's cable is: "up", "cut", or "slow" with delay and rate."""
        values = self.state
        node = values.node(name)
        if not network.plugged(self.name, speed.port(node)):
            return "cut"
        slow = [f"{1000 * node.delay:g} ms"] if node.delay else []
        slow += [f"{node.rate / 1e6:g} Mbit/s"] if node.rate else []
        return " ".join(["slow", *slow]) if slow else "up"

    # Running something

    def environment(self) -> dict[str, str]:
        """What a client on this machine, such as ``ray job submit``, needs in its environment."""
        return hosts.client(self.state)

    def popen(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options
    ) -> subprocess.Popen:
        """Start a process on a host; its PID is the process's own.

        Args:
            name: of the node.
            argv: program and arguments.
            env: variables in addition to the lab's, which have ``RAY_ADDRESS`` of the GCS and the token's path.
            options: `subprocess.Popen`'s, such as ``cwd``.
        """
        values = self.state
        values.node(name)
        variables = hosts.environment(values) | dict(env or {})
        return subprocess.Popen(hosts.inside(self.name, name, list(argv)), env=variables, **options)

    def run(
        self, name: str, argv: Sequence[str], *, timeout: float | None = None, **options
    ) -> subprocess.CompletedProcess:
        """`popen` and wait; output as text.

        Raises:
            subprocess.TimeoutExpired: the process, then killed, took longer than ``timeout`` seconds.
        """
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        with self.popen(name, argv, **options) as process:
            try:
                out, error = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    # Hurting it

    def kill(self, name: str) -> None:
        """SIGKILL everything on a host at once, as when its power fails.

        Raises:
            UserError: nothing runs there.
        """
        self._need_alive(name)
        processes.kill_inside(network.file(self.name, name))
        processes.reap()

    def preempt(self, name: str) -> None:
        """SIGTERM to ``ray start``, as a cloud does before it takes a machine back; the node then drains.

        A Ray before 2.57 would end at once: there the node is drained first, and SIGTERM comes at the end.

        Raises:
            UserError: it is dead already.
        """
        self._need_alive(name)
        node = self.state.node(name)
        if warning := hosts.notice(self.state, node):
            argv, log = hosts.inside(self.name, name, warning), self.state.folder / f"{name}-notice.log"
            processes.spawn(argv, log, hosts.environment(self.state))
        elif not processes.send(node.process, signal.SIGTERM):
            raise UserError(f"`ray start` on {name} is dead already")

    def cut(self, name: str) -> None:
        """Pull a host's cable: packets vanish, processes live on. Twice is no error."""
        with state.locked():
            network.unplug(self.name, speed.port(self.state.node(name)))

    def heal(self, name: str) -> None:
        """Plug a host's cable in again. Twice is no error."""
        with state.locked():
            network.plug(self.name, speed.port(self.state.node(name)))

    def slow(self, name: str, *, delay: float = 0.0, rate: float | None = None) -> None:
        """Delay a host's packets and limit their rate, each way; without either as fast as ever.

        Args:
            name: of the node.
            delay: seconds, each way.
            rate: bits per second, each way; None is no limit.

        Raises:
            UserError: a number is out of range, or the kernel cannot do it.
        """
        if not 0 <= delay <= 10:
            raise UserError(f"a delay of {delay:g} s: 0 to 10 s, please")
        if rate is not None and not 1e4 <= rate <= 1e11:
            raise UserError(f"a rate of {rate:g} bit/s: 10 kbit/s to 100 Gbit/s, please")
        with state.locked():
            values = self.state
            node = values.node(name)
            try:
                speed.change(values, node, delay, rate)
            finally:
                values.save()  # a relay that runs is on record

    def add(self, *, seconds: float = 120.0) -> str:
        """A new node, with the next number; returns its name when it is alive.

        Raises:
            UserError: Ray does not start there.
        """
        name = self._start()
        self._until(lambda: name in self.alive(), [name], time.monotonic() + seconds)
        return name

    def down(self) -> None:
        """Kill and delete everything; done twice, or on half a lab, it is no error."""
        making.take_down(self.name, self.id)

    # Within

    def _start(self) -> str:
        """Make the next host and start Ray there; what is made is on disk first."""
        with state.locked():
            values = self.state
            number = max((node.number + 1 for node in values.nodes.values()), default=0)
            if number > network.MAX_NODES:
                raise UserError(f"a lab has {network.MAX_NODES} nodes at most")
            name = f"node{number}" if number else HEAD
            node = Node(name, number, network.address(values.subnet, number))
            values.nodes[name] = node
            values.save()
            network.make_host(self.name, name, values.subnet, number)
            node.process = hosts.start(values, node)
            values.save()
        return name

    def _until(self, done: Callable[[], bool], names: list[str], deadline: float) -> None:
        """Wait for ``done`` while ``ray start`` of some nodes lives."""
        while not done():
            values = self.state
            for name in names:
                node = values.node(name)
                if processes.alive(node.process):
                    continue
                words = processes.last_words(hosts.log(values, node))
                if name == HEAD or _TOO_SLOW not in words:
                    raise UserError(f"Ray does not start on {name}: {words}")
                self._start_again(name)
            if time.monotonic() > deadline:
                raise UserError(f"Ray is not up in time on all of {', '.join(names)}: is the machine overloaded?")
            time.sleep(0.25)

    def _start_again(self, name: str) -> None:
        processes.kill_inside(network.file(self.name, name))
        with state.locked():
            values = self.state
            node = values.node(name)
            node.process = hosts.start(values, node)
            values.save()

    def _need_alive(self, name: str) -> None:
        if not self.pids(name):
            raise UserError(f"{name} is dead already: nothing runs there")
