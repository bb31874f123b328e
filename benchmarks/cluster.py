"""What Ray costs: a step on one Ray worker against this process; as root also starts, and restarts after a failure.

    python -m benchmarks.cluster [--rounds 3] [--samples 20000] [any option of ragdist.train]

Runs of both kinds in turn. A step's time is the median of the readings in metrics.jsonl, the first left out. A start is
timed from submitting a job to its first update, a restart from what hurts an elastic run to its next update.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import options as command_line
from benchmarks.measure import machine, spread, table

HERE = Path(__file__).parents[1]
SAID = r"training ([\d.]+) s after the start, of which Ray took ([\d.]+) s"


def step_ms(folder: Path, workers: str, samples: int, rest: list[str]) -> float:
    """Milliseconds of an update in a run with these workers."""
    out = folder / f"run-{workers}-{time.monotonic_ns()}"
    place = ["--data", str(folder / "digits"), "--out", str(out), "--samples", str(samples), "--workers", workers]
    command = [
        sys.executable,
        "-m",
        "ragdist.train",
        *place,
        "--monitor.seconds",
        "2",
        "--monitor.grid_every",
        str(samples),
    ]
    # Ray's workers are nice by default, which matters on a machine where something else runs.
    environment = os.environ | {"RAY_worker_niceness": "0"}
    subprocess.run([*command, *rest], check=True, env=environment, cwd=HERE, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return 1e3 * statistics.median(row["step_seconds"] for row in rows[2:])


def submitted(folder: Path, rest: list[str]) -> dict[str, float]:
    """Seconds from `ray job submit` to the first update on a lab of two nodes, part by part."""
    from cluster.lab import Lab

    with Lab.up("submit", nodes=2, environment={"PYTHONPATH": str(HERE), "RAY_worker_niceness": "0"}) as lab:
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "job", "submit", "--", sys.executable, "-m", "ragdist.train", "--data", str(folder / "digits"),
                   "--out", str(folder / "submitted"), "--samples", "6400", *rest]  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(command, env=os.environ | lab.environment(), stdout=subprocess.PIPE, text=True)
        found = None
        for line in process.stdout:
            if found is None and (words := re.search(SAID, line)):
                found = time.monotonic() - began, float(words[1]), float(words[2])
        process.wait()
    whole, driver, theirs = found
    return {
        "from submitting to the first update": whole,
        "Ray: job, connecting, starting the workers": whole - driver + theirs,
        "ragdist: imports, data, networks, first update": driver - theirs,
    }


def recovered(folder: Path, rest: list[str]) -> dict[str, float]:
    """Seconds from what hurts an elastic run on a lab of three nodes until it trains again."""
    from cluster.lab import Lab

    found = {}
    log = folder / "recovered.log"
    with Lab.up("recover", nodes=3, environment={"PYTHONPATH": str(HERE), "RAY_worker_niceness": "0"}) as lab:
        command = [sys.executable, "-m", "ragdist.train", "--data", str(folder / "digits"), "--out",
                   str(folder / "recovered"), "--samples", "100000000", "--workers", "1:3",
                   "--checkpoint.every", "3200", *rest]  # fmt: skip
        with log.open("w") as file:
            driver = lab.popen("head", command, stdout=file, stderr=subprocess.STDOUT)

        def training(times: int) -> None:
            while len(re.findall(r"training (again|[\d.]+ s after)", log.read_text())) < times:
                if driver.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.05)

        training(1)
        for times, (what, hurt) in enumerate(
            {
                "SIGKILL of a worker": lambda: os.kill(_worker(lab, lab.nodes[0]), signal.SIGKILL),
                "SIGKILL of a node": lambda: lab.kill(lab.nodes[-1]),
                "a node cut off": lambda: lab.cut(lab.nodes[0]),
            }.items(),
            start=2,
        ):
            time.sleep(10)  # checkpoints are written
            began = time.monotonic()
            hurt()
            training(times)
            found[what] = time.monotonic() - began
        driver.kill()
        driver.wait()
    return found


def _worker(lab, node: str) -> int:
    """The process of a Ray Train worker on a host."""
    return next(pid for pid in lab.pids(node) if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes())


def main() -> None:
    parser = command_line.parser("cluster", __doc__, of_runs=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", "--images", type=int, default=20_000)
    own, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make = [sys.executable, "-m", "ragdist.shards", "digits", str(folder / "digits"), "--size", "16"]
        subprocess.run(make, check=True, cwd=HERE, stdout=subprocess.DEVNULL)
        found: dict[str, list[float]] = {"0": [], "1": []}
        for _ in range(own.rounds):
            for workers in found:
                found[workers].append(step_ms(folder, workers, own.samples, rest))
        ratios = [one / none for none, one in zip(*found.values(), strict=True)]
        rows = [["this process", spread(found["0"]), "1"], ["one Ray worker", spread(found["1"]), spread(ratios, 3)]]
        print(f"{machine()}; {own.samples:,} images a run, {own.rounds} rounds\n")
        print(table(["where", "step, ms", "ratio"], rows))
        if os.geteuid() == 0:
            print()
            print(table(["", "seconds"], [[what, f"{s:.1f}"] for what, s in submitted(folder, rest).items()]))
            print()
            again = recovered(folder, rest)
            print(table(["training again after", "seconds"], [[what, f"{s:.1f}"] for what, s in again.items()]))


if __name__ == "__main__":
    main()
