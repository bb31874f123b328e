"""A run on a lab, what is known of it from outside, and ways to hurt it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from cluster.lab import Lab
from tests import warm
from tests.conftest import TINY

# Of what starts a lab.
NEEDS_A_LAB = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("tc")), reason="a lab needs iproute2"),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="a lab needs Ray"),
]
CHECKOUT = Path(__file__).parents[1]
EVERY = 1200  # samples between checkpoints
PATIENCE = 300  # seconds for what takes tens at most where nothing else runs: against hanging


def own_name(name: str) -> str:
    """A lab's name that no other process of this machine uses."""
    return f"{name}-{os.getpid()}"


def new_lab(name: str, nodes: int) -> Lab:
    environment = {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "RAY_worker_niceness": "0",  # Ray's workers are nice by default; here other tests would starve them
        "RAGDIST_STEADY_SECONDS": "3",
        "RAGDIST_SHARED_SECONDS": "3",
        "RAGDIST_UNHEARD_SECONDS": "8",
        **warm.SETTINGS,
    }
    return Lab.up(
        own_name(name),
        nodes=nodes,
        notice=30,
        environment=environment,
        python=warm.python(),
        seconds=PATIENCE,
        say=print,
    )


def options(data, out, samples: int, workers: str, *more: str) -> list[str]:
    size = ["--batch_size=24", "--objective.group=4", "--data.loader_workers=0", "--monitor.seconds=2"]
    place = [f"--data={data}", f"--out={out}", f"--samples={samples}", f"--workers={workers}"]
    return [*TINY, *size, *place, f"--checkpoint.every={EVERY}", *more]


class Driver:
    """A driver on the lab's head, and what it says, with times."""

    def __init__(self, lab: Lab, log: Path, *arguments: str):
        self.lab, self.log = lab, log
        with open(log, "a") as file:
            argv = [warm.python(), "-m", "ragdist.train", *arguments]
            self.process = lab.popen("head", argv, cwd=log.parent, stdout=file, stderr=subprocess.STDOUT)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, seconds: float = PATIENCE, times: int = 1) -> float:
        """Wait until the driver has said it so many times; the seconds that it took."""
        began = time.monotonic()
        while len(re.findall(pattern, self.text)) < times:
            assert self.process.poll() is None or len(re.findall(pattern, self.text)) >= times, self.text
            assert time.monotonic() - began < seconds, f"not said in {seconds} s: {pattern}\n{self.text}"
            time.sleep(0.1)
        return time.monotonic() - began

    def wait(self, seconds: float = PATIENCE) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.text}") from None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def actors_on(lab: Lab, node: str, name: bytes) -> list[int]:
    """Processes of Ray's actors of this class on a host."""
    found = []
    for pid in lab.pids(node):
        try:
            if name in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def workers_on(lab: Lab, node: str) -> list[int]:
    return actors_on(lab, node, b"RayTrainWorker")


def where_workers_are(lab: Lab) -> dict[str, int]:
    """The number of Ray Train workers on each host that has any."""
    return {node: len(found) for node in lab.nodes if (found := workers_on(lab, node))}


def raylet_on(lab: Lab, node: str) -> int:
    """The process of a host's raylet."""
    return next(pid for pid in lab.pids(node) if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet")


def logs(lab: Lab, node: str) -> str:
    """The last lines that a host's `ray start` has printed, and what else was written about it."""
    paths = sorted(lab.state.folder.glob(f"{node}*.log"))
    return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}" for path in paths)


def any_worker(lab: Lab, seconds: float = PATIENCE) -> tuple[str, int]:
    """A host with a Ray Train worker, and its process."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for node in reversed(lab.nodes):
            if found := workers_on(lab, node):
                return node, found[0]
        time.sleep(0.05)
    raise AssertionError("no worker appeared")


def newest(run: Path) -> int:
    names = [path.name for path in (run / "checkpoints").glob("samples-*")]
    return max((int(name.partition("-")[2]) for name in names), default=0)


def wait_for_checkpoint(run: Path, beyond: int, seconds: float = PATIENCE) -> int:
    end = time.monotonic() + seconds
    while (found := newest(run)) <= beyond:
        assert time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.05)
    return found


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def continued_from(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"continuing from .*samples-(\d+)", text)]


# Waits until the autoscaler is asked for this and nothing else.
REQUESTED = """
import json, os, sys, time
from ray._raylet import GcsClient

gcs, end = GcsClient(address=os.environ["RAY_ADDRESS"]), time.monotonic() + float(sys.argv[2])
while (found := json.loads(gcs.internal_kv_get(b"autoscaler_resource_request", None) or b"[]")) != json.loads(sys.argv[1]):
    assert time.monotonic() < end, found
    time.sleep(0.1)
"""


def wait_until_requested(lab: Lab, bundles: list[dict]) -> None:
    """Wait until a cluster's autoscaler is asked for room for these."""
    argv = [warm.python(), "-c", REQUESTED, json.dumps(bundles), str(PATIENCE)]
    result = lab.run("head", argv)
    assert result.returncode == 0, result.stderr


def job_log(lab: Lab, identity: str) -> str:
    """What `ray job logs` prints, without a process that takes seconds of the cluster's two cores."""
    where = f"{lab.environment()['RAY_ADDRESS']}/api/jobs/{identity}/logs"
    request = urllib.request.Request(where, headers={"Authorization": f"Bearer {lab.state.token.read_text().strip()}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["logs"] or ""
    except OSError as error:  # it is not known yet, or the dashboard is busy
        return str(error)


def hide(lab: Lab, node: str, path: Path) -> None:
    """Give one host an empty folder of its own where the others share one."""
    pid = lab.pids(node)[0]
    subprocess.run(["nsenter", "-t", str(pid), "-m", "mount", "-t", "tmpfs", "none", str(path)], check=True)
