"""The Slurm scripts, run against stand-ins for Slurm and Ray: what reaches ragdist, and what a signal does."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SLURM = Path(__file__).parent.parent / "cluster" / "slurm"
HANGS = 240  # seconds after which nothing is slow any more
SCRIPTS = ["whole-nodes.sbatch", "shared-nodes.sbatch"]
OPTIONS = ["--config", "cifar10", "--data", "/shared/with space", "--out", "/shared/run $x"]

# Ray's symmetric-run passes no signal on: one for itself would end it, and the driver would be lost.
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; SLURM_NODEID=0 SLURM_CPUS_PER_TASK=1 exec "$@"',
    "scontrol": 'echo "$*" >> "$RECORD/scontrol"',
    "hostname": "echo 10.0.0.1 10.0.0.2",
    "ray": """
printf '%s\\n' "$@" > "$RECORD/ray"; env > "$RECORD/part"; mv "$RECORD/part" "$RECORD/environment"
if [ "$1" = symmetric-run ]; then while [ "$1" != -- ]; do shift; done; shift; "$@"; exit; fi
trap 'echo > "$RECORD/ray-ended"; exit 1' TERM; while :; do sleep 0.05; done""",
    "python": f"""
if [[ "$*" != *ragdist.train* ]]; then [ "$1" = - ] && exit; exec {sys.executable} "$@"; fi
printf '%s\\n' "$@" > "$RECORD/arguments.part"
trap 'exit 130' TERM; mv "$RECORD/arguments.part" "$RECORD/arguments"
for ((i = 0; i < 20 * {HANGS}; i++)); do [ -e "$RECORD/end" ] && exit "$(cat "$RECORD/end")"; sleep 0.05; done""",
}


@pytest.fixture
def job(tmp_path):
    """Starts a script as a job of one node; it is the script's process and the folder of what was recorded."""
    programs, record = tmp_path / "bin", tmp_path / "record"
    programs.mkdir()
    record.mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "42", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "2"}
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "RECORD": str(record), **slurm}
    started = []

    def start(script: str) -> subprocess.Popen:
        started.append(subprocess.Popen(["bash", SLURM / script, *OPTIONS], env=environment, start_new_session=True))
        end = time.monotonic() + HANGS
        while not all((record / name).exists() for name in ("arguments", "environment")):
            assert started[0].poll() is None, "it ended"
            assert time.monotonic() < end
            time.sleep(0.02)
        return started[0]

    yield start, record
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("sent", "code", "requeued"),
    [(signal.SIGUSR1, 130, True), (signal.SIGTERM, 130, False), (0, 0, False), (2, 2, False)],
    ids=["time is over", "stopped", "finished", "failed"],
)
def test_ends(job, script, sent, code, requeued):
    start, folder = job
    process = start(script)
    if isinstance(sent, signal.Signals):
        process.send_signal(sent)
    else:
        (folder / "end").write_text(str(sent))
    assert process.wait(timeout=HANGS) == code
    assert (folder / "scontrol").exists() == requeued
    if requeued:
        assert (folder / "scontrol").read_text() == "requeue 42\n"
    if script == "shared-nodes.sbatch":
        assert (folder / "ray-ended").exists()
    temporary = re.search(r"^--temp-dir=(.+)$", (folder / "ray").read_text(), re.MULTILINE)[1]
    assert not Path(temporary).exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_arrives(job, script):
    start, folder = job
    process = start(script)
    assert (folder / "arguments").read_text().splitlines() == ["-u", "-m", "ragdist.train", *OPTIONS]
    environment = dict(line.partition("=")[::2] for line in (folder / "environment").read_text().splitlines())
    assert environment["RAY_AUTH_MODE"] == "token"
    token = environment["RAY_AUTH_TOKEN"]
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    ray = (folder / "ray").read_text()
    assert token not in ray + (folder / "arguments").read_text()  # anyone on the node sees command lines
    assert "10.0.0.1" in ray
    (folder / "end").write_text("0")
    assert process.wait(timeout=HANGS) == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_needs_options(script):
    done = subprocess.run(["bash", SLURM / script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_two_jobs_on_a_node_do_not_meet(job):
    start, folder = job
    process = start("shared-nodes.sbatch")
    (folder / "end").write_text("0")
    assert process.wait(timeout=HANGS) == 0
    first = (folder / "ray").read_text()
    assert re.search(r"^--temp-dir=/tmp/ragdist\.\w{6}$", first, re.MULTILINE)
    fixed = [port for port in re.findall(r"port=(\d+)", first) if port != "0"]
    assert len(set(fixed)) == 2  # Ray's own and the client's, both asked of the system
    assert not set(fixed) & {"6379", "8265", "10001", "52365"}
    assert "--include-dashboard=false" in first
