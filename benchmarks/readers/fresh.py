"""Figures of a reader that only a fresh process shows: imports, the first batch, memory.

python -m benchmarks.readers.fresh JSON        what `measure` starts; prints its figures and waits
"""

import time

BEGUN = time.perf_counter()

import json  # noqa: E402  the clock runs
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from dataclasses import asdict  # noqa: E402

from benchmarks import options as command_line  # noqa: E402
from benchmarks.readers import BATCH, Data, make  # noqa: E402


def measure(name: str, data: Data, workers: int = 0, start: int = 0, seconds: float = 0) -> dict[str, float]:
    """Figures of the reader in a process of its own.

    Args:
        workers, start: of the batches.
        seconds: that what follows the first batch is read for.

    Returns:
        ``imports``: seconds for them; ``first``: seconds from then to the first batch; ``rate``: images per second of
        what follows, if any; ``rss`` and ``pss``: MB of the process and all that it started, the most that each had
        resident, and what they have now with shared pages counted once.
    """
    task = {"name": name, "data": asdict(data), "workers": workers, "start": start, "seconds": seconds}
    command = [sys.executable, "-m", "benchmarks.readers.fresh", json.dumps(task)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            line = process.stdout.readline()
            found = json.loads(line) | memory(process.pid) if line else None
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if found is None:
            errors.seek(0)
            raise RuntimeError(f"{name} failed: {errors.read()[-2000:]}")
    return found


def memory(pid: int) -> dict[str, float]:
    """MB of a process and all that it started."""
    import psutil

    parent = psutil.Process(pid)
    found = {"rss": 0.0, "pss": 0.0}
    for process in [parent, *parent.children(recursive=True)]:
        with open(f"/proc/{process.pid}/status") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        found["rss"] += peak / 1024
        found["pss"] += process.memory_full_info().pss / 2**20
    return found


def main() -> None:
    parser = command_line.parser("readers.fresh", __doc__)
    parser.add_argument("task", metavar="JSON", type=json.loads, help="the arguments of `measure`, as it writes them")
    task = parser.parse_args().task
    reader = make(task["name"], Data(**task["data"]))
    import torch

    torch.set_num_threads(1)
    found = {"imports": time.perf_counter() - BEGUN}
    start = time.perf_counter()
    batches = iter(reader.batches(task["workers"], task["start"]))
    batch = next(batches)
    found["first"] = time.perf_counter() - start
    assert batch.dtype == torch.uint8, batch.dtype
    assert batch.shape[:2] == (BATCH, 3), batch.shape
    if task["seconds"]:
        from benchmarks.measure import rate

        found["rate"] = rate(batches, task["seconds"], len)
    print(json.dumps(found), flush=True)
    sys.stdin.read()  # the memory is looked at


if __name__ == "__main__":
    main()
