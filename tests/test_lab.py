"""`cluster.lab`: a real Ray cluster on this machine, hurt in every way that it can be."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.lab import Lab, dashboard, hosts, network, state
from cluster.lab.__main__ import main
from ragdist.tools.errors import UserError
from tests import warm
from tests.conftest import command, refused
from tests.driven import NEEDS_A_LAB, PATIENCE, own_name

NAME = own_name("pytest")
ORPHAN = own_name("orphan")
CHECKOUT = Path(__file__).parents[1]

pytestmark = NEEDS_A_LAB

# Where each of as many tasks as there are workers has run, on a worker with a CPU for one.
TASKS = """
import ray, time
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    time.sleep(2)
    return ray.util.get_node_ip_address()
print("ran on", *sorted(ray.get([where.remote(), where.remote()])))
"""


@pytest.fixture(scope="module")
def lab():
    environment = {"PYTHONPATH": str(CHECKOUT), **warm.SETTINGS}
    with Lab.up(
        NAME, nodes=2, notice=20, environment=environment, python=warm.python(), seconds=PATIENCE, say=print
    ) as lab:
        yield lab


def lab_command(*arguments: str) -> subprocess.CompletedProcess:
    return command("cluster.lab", *arguments, cwd=CHECKOUT, timeout=PATIENCE)


def left_of(name: str) -> list[str]:
    """What a lab has left on the machine, on which others may come and go meanwhile."""
    before = subnets_of_others(name)
    links = [line.split()[0] for line in network.run("ip", "-br", "link").splitlines() if line.startswith("rlab")]
    numbers = before | subnets_of_others(name)
    links = [link for link in links if int(re.match(r"rlab(\d+)", link)[1]) not in numbers]
    found = subprocess.run(["pgrep", "-af", str(state.folder(name))], capture_output=True, text=True).stdout
    return [*links, *network.namespaces(name), *map(str, state.ROOT.glob(name)), *found.splitlines()]


def subnets_of_others(name: str) -> set[int]:
    return {found.subnet for other in state.names() if other != name and (found := state.load(other))}


def test_every_node_has_its_own_address_and_processes(lab):
    assert lab.alive() == ["head", "node1", "node2"]
    addresses = [lab.address(node) for node in ("head", *lab.nodes)]
    assert len(set(addresses)) == 3
    pids = [set(lab.pids(node)) for node in ("head", *lab.nodes)]
    assert all(pids)
    assert not pids[0] & pids[1]
    for node, address in zip(("head", *lab.nodes), addresses, strict=True):
        seen = lab.run(node, ["ip", "-4", "-br", "address"]).stdout
        assert address in seen
        assert "127.0.0.1" in seen


def test_tasks_run_on_every_worker_and_none_on_the_head(lab):
    done = lab.run("node1", [warm.python(), "-c", TASKS], timeout=PATIENCE)
    assert f"ran on {lab.address('node1')} {lab.address('node2')}" in done.stdout, done.stderr


def test_the_token_is_secret_and_needed(lab, tmp_path):
    assert lab.state.token.stat().st_mode & 0o777 == 0o600
    token = lab.state.token.read_text()
    for pid in lab.pids("head"):
        assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    wrong = tmp_path / "wrong"
    wrong.write_text("f" * 64)
    with pytest.raises(RuntimeError, match="403"):
        dashboard.nodes(lab.address("head"), hosts.DASHBOARD_PORT, wrong)


def test_mistakes_get_one_line(lab):
    assert "no node 'node9'" in refused(lab_command("kill", "node9", "--name", NAME))
    for wrong, said in (
        (["status", "--name", "nowhere"], "no lab 'nowhere'; there are: "),
        (["up", "--name", NAME], "is up already"),
        (["prempt", "node1"], "did you mean 'preempt'"),
        (["exec", "node1", "--name", NAME], "the command is missing"),
        (["up", "--owner", "4194304", "--name", "other"], "no such process"),
        (["up", "--name", "../up"], "--name ../up: "),
        (["up", "--nodes", "900", "--name", "other"], "--nodes 900: 0 to 250"),
        (["slow", "node1", "--delay", "20", "--name", NAME], "--delay 20: "),
        (["kill", "--name", NAME], "node"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            main(wrong)


def test_who_is_not_root_is_told(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="needs Linux and root"):
        main(["up"])


def test_status_and_exec(lab):
    said = lab_command("status", "--name", NAME).stdout
    assert [line.split()[:3] for line in said.splitlines()[1:]] == [
        [node, lab.address(node), "alive"] for node in ("head", "node1", "node2")
    ]
    done = lab_command("exec", "node2", "--name", NAME, "--", "sh", "-c", "echo $RAY_ADDRESS; ip -br a; exit 7")
    assert done.returncode == 7
    assert f"{lab.address('head')}:6379" in done.stdout
    assert lab.address("node2") in done.stdout


def round_trip(lab: Lab, node: str) -> float:
    """Seconds for a byte to a host and back, the best of ten."""
    script = (
        "import socket, sys; own = socket.create_server((sys.argv[1], 7000)); print(flush=True); it = own.accept()[0]\n"
        "while byte := it.recv(1): it.sendall(byte)"
    )
    with lab.popen(node, [sys.executable, "-c", script, lab.address(node)], stdout=subprocess.PIPE) as echo:
        echo.stdout.readline()
        best = 1e9
        with socket.create_connection((lab.address(node), 7000), timeout=30) as there:
            for _ in range(10):
                begin = time.perf_counter()
                there.sendall(b"x")
                there.recv(1)
                best = min(best, time.perf_counter() - begin)
    return best


def test_slow_delays_each_way_and_goes_away(lab):
    lab_command("slow", "node1", "--delay", "30ms", "--rate", "200mbit", "--name", NAME)
    assert lab.cable("node1") == "slow 30 ms 200 Mbit/s"
    assert 0.06 <= round_trip(lab, "node1") < 0.5
    lab.cut("node1")
    lab.slow("node1")
    assert lab.cable("node1") == "cut"
    lab.heal("node1")
    assert lab.cable("node1") == "up"
    assert round_trip(lab, "node1") < 0.05


def test_a_short_cut_does_no_harm(lab):
    lab.cut("node1")
    assert lab.cable("node1") == "cut"
    with pytest.raises(TimeoutError), socket.create_connection((lab.address("node1"), 7000), timeout=2):
        pass  # neither accepted nor refused
    lab.heal("node1")
    time.sleep(4)
    assert "node1" in lab.alive()


def test_a_cut_node_is_found_dead_and_its_processes_live_on(lab):
    lab.cut("node1")
    seconds = lab.wait_for("node1", alive=False, seconds=PATIENCE)
    print(f"cut node: dead after {seconds:.1f} s")
    assert lab.pids("node1")
    lab.heal("node1")
    assert {"head", "node2"} <= set(lab.alive())


def test_a_killed_node_is_found_dead(lab):
    lab.kill("node2")
    assert lab.pids("node2") == []
    seconds = lab.wait_for("node2", alive=False, seconds=PATIENCE)
    print(f"killed node: dead after {seconds:.1f} s")
    assert "dead already" in refused(lab_command("kill", "node2", "--name", NAME))


def test_an_added_node_takes_the_next_number_and_a_preempted_one_goes_by_itself(lab):
    assert "node3: alive" in lab_command("add", "--name", NAME).stdout
    assert "node3" in lab.alive()
    lab.preempt("node3")
    seconds = lab.wait_for("node3", alive=False, seconds=PATIENCE)
    print(f"preempted idle node: gone after {seconds:.1f} s")
    while lab.pids("node3"):
        time.sleep(0.2)


@pytest.mark.parametrize(("version", "drained"), [("2.55.1", True), ("2.57.0", False), ("2.60.0", False)])
def test_a_notice_is_that_of_the_hosts_ray(tmp_path, version, drained):
    """Their interpreter is another one than this, with another Ray."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    values = state.State(NAME, "", 0, 1, 20, 0, {}, str(python))
    assert hosts.drains_on_sigterm(values) != drained
    warning = hosts.notice(values, state.Node("node1", 1, network.address(0, 1), [1, 1]), "4711")
    assert f"{python} -c " in warning[-1]
    assert "--node-id=4711" in warning[-1]


def test_a_node_that_ray_gives_up_on_is_started_again(lab):
    """Its raylet is frozen, as on a machine that is too busy; Ray waits for 30 s."""
    adding = subprocess.Popen([sys.executable, "-m", "cluster.lab", "add", "--name", NAME], cwd=CHECKOUT)
    frozen = None
    while frozen is None:
        assert adding.poll() is None
        time.sleep(0.05)
        for pid in lab.pids("node4") if "node4" in lab.nodes else []:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet":
                    os.kill(pid, signal.SIGSTOP)
                    frozen = pid
    assert "node4" not in lab.alive()
    assert adding.wait(PATIENCE) == 0
    assert "node4" in lab.alive()
    assert frozen not in lab.pids("node4")


def test_a_lab_goes_with_its_owner_even_when_it_is_half_made():
    script = f"from cluster.lab import Lab; Lab.up('{ORPHAN}', nodes=1, say=print)"
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": "."})
    try:
        while not network.namespaces(ORPHAN):
            assert owner.poll() is None
            time.sleep(0.05)
        time.sleep(2)  # Ray is starting on the head
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        begin = time.monotonic()
        while (left := left_of(ORPHAN)) and time.monotonic() - begin < PATIENCE:
            time.sleep(0.1)
        assert left == []
        print(f"orphaned lab: gone after {time.monotonic() - begin:.1f} s")
    finally:
        owner.kill()
        lab_command("down", "--name", ORPHAN)


def test_down_leaves_nothing(lab):
    before = left_of(NAME)
    assert len(before) > 10
    lab.down()
    assert left_of(NAME) == []
    lab.down()
    assert "there is no lab" in lab_command("down", "--name", NAME).stdout
    with pytest.raises(UserError, match="no lab"):
        lab.alive()
