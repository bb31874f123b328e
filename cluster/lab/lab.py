"""A lab as an object: start it, run commands on its hosts, inject faults, take it down."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from cluster.lab import dashboard, hosts, making, network, processes, speed, starting, state
from cluster.lab.state import HEAD, State
from ragdist.tools.errors import UserError

THIS_PROCESS = 0
STARTING_SECONDS = 2.0  # a dashboard that is still starting may leave a question unanswered


class Lab:
    """A lab that is up. All methods can be called from any process of root; nothing is cached.

    As a context manager it is taken down at the end. Seconds are real time; node names are ``head``,
    ``node1``, ``node2``, ...
    """

    def __init__(self, name: str = "lab"):
        """Open the lab of this name, which is up.

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
            seconds: within which all must be alive.
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
            lab._start(nodes, begin, begin + seconds, say)
        except BaseException:
            lab.down()
            raise
        return lab

    def _start(self, workers: int, begin: float, deadline: float, say: Callable[[str], None]) -> None:
        """Start the head, then the workers, and wait until all are alive; times are by time.monotonic()."""
        starting.add(self.name, self.id)
        address = hosts.head_address(self.state)
        starting.wait_until(
            self.name, self.id, lambda: dashboard.answers(address, hosts.GCS_PORT), names=[HEAD], deadline=deadline
        )
        say(f"head: GCS answers after {time.monotonic() - begin:.1f} s")
        for _ in range(workers):
            starting.add(self.name, self.id)
        seen: set[str] = set()
        everyone = [HEAD, *self.nodes]

        def complete() -> bool:
            for node, known in (self.known(STARTING_SECONDS) or {}).items():
                if known == "ALIVE" and node not in seen:
                    seen.add(node)
                    say(f"{node}: alive after {time.monotonic() - begin:.1f} s")
            return seen.issuperset(everyone)

        starting.wait_until(self.name, self.id, complete, names=everyone, deadline=deadline)

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # State

    @property
    def state(self) -> State:
        """The lab's state, as it is on disk now.

        Raises:
            UserError: the lab is down.
        """
        return making.load(self.name, self.id)

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
        """Names of the nodes that are alive according to GCS, in order; none if the head does not answer."""
        return [name for name, known in (self.known() or {}).items() if known == "ALIVE"]

    def wait_for(self, name: str, *, alive: bool, seconds: float = 60.0) -> float:
        """Wait until a node is alive according to GCS, or dead; the seconds that it took.

        Raises:
            TimeoutError: it is not after ``seconds``.
        """
        begin = time.monotonic()
        while (known := self.known()) is None or (known.get(name) == "ALIVE") != alive:
            if time.monotonic() - begin > seconds:
                raise TimeoutError(f"{name} is {'not alive' if alive else 'still alive'} after {seconds:.0f} s")
            time.sleep(0.2)
        return time.monotonic() - begin

    def cable(self, name: str) -> str:
        """The condition of a host's link to the switch: "up", "cut", or "slow" with delay and rate."""
        values = self.state
        node = values.node(name)
        if not network.plugged(self.name, speed.port(node)):
            return "cut"
        slow = [f"{1000 * node.delay:g} ms"] if node.delay else []
        slow += [f"{node.rate / 1e6:g} Mbit/s"] if node.rate else []
        return " ".join(["slow", *slow]) if slow else "up"

    # Commands on hosts

    def environment(self) -> dict[str, str]:
        """Environment variables with which a client on this machine, such as ``ray job submit``, connects."""
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
        """Run a process on a host to its end; its output as text.

        Args:
            name: of the node.
            argv: program and arguments.
            timeout: seconds; None: no limit.
            options: as of `popen`.

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

    # Faults, new nodes, the end

    def kill(self, name: str) -> None:
        """Kill all processes on a host at once by SIGKILL, like a power failure.

        Raises:
            UserError: nothing runs there.
        """
        self._need_alive(name)
        processes.kill_inside(network.file(self.name, name))
        processes.reap()

    def preempt(self, name: str) -> None:
        """Send SIGTERM to a host's ``ray start``, as a cloud does before it takes a machine back; the node then drains.

        A Ray before 2.57 would end at once: there the node is drained first, and SIGTERM comes at the end.

        Raises:
            UserError: it is dead already.
        """
        self._need_alive(name)
        node = self.state.node(name)
        if not hosts.drains_on_sigterm(self.state):
            values = self.state
            head = hosts.head_address(values)
            found = dashboard.node_id(head, hosts.DASHBOARD_PORT, values.token, node.address)
            if found is None:
                raise UserError(f"{name} is not alive, or the head does not answer")
            argv = hosts.inside(self.name, name, hosts.notice(values, node, found))
            processes.spawn(argv, values.folder / f"{name}-notice.log", hosts.environment(values))
        elif not processes.send(node.process, signal.SIGTERM):
            raise UserError(f"`ray start` on {name} is dead already")

    def cut(self, name: str) -> None:
        """Cut a host off from the network: packets are lost, processes keep running. Twice is no error."""
        with state.locked():
            network.unplug(self.name, speed.port(self.state.node(name)))

    def heal(self, name: str) -> None:
        """Connect a host to the network again. Twice is no error."""
        with state.locked():
            network.plug(self.name, speed.port(self.state.node(name)))

    def slow(self, name: str, *, delay: float = 0.0, rate: float | None = None) -> None:
        """Delay a host's packets and limit their rate, each way; without delay and rate remove all limits.

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
        """Add a worker with the next number, and wait until it is alive; its name.

        Raises:
            UserError: Ray does not start there.
        """
        name, deadline = starting.add(self.name, self.id), time.monotonic() + seconds
        starting.wait_until(self.name, self.id, lambda: name in self.alive(), names=[name], deadline=deadline)
        return name

    def down(self) -> None:
        """Kill and delete all of the lab; done twice, or on a lab that is half made, it is no error."""
        making.take_down(self.name, self.id)

    def _need_alive(self, name: str) -> None:
        if not self.pids(name):
            raise UserError(f"{name} is dead already: nothing runs there")
