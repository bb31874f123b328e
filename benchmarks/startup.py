"""What a user waits for: --help, and the first update of the default run.

python -m benchmarks.startup
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import options as command_line
from benchmarks.measure import machine, spread, table


def help_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ragdist.train", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def first_update_seconds(folder: Path) -> float:
    """Seconds from the command to the first logged update; shards are written on the way."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ragdist.train"], cwd=folder, stdout=subprocess.DEVNULL)
    metrics = folder / "runs" / "digits" / "metrics.jsonl"
    try:
        while not (metrics.exists() and metrics.read_text()):
            assert process.poll() is None, "the run ended"
            time.sleep(0.01)
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    command_line.parser("startup", __doc__).parse_args()
    root = Path(__file__).parents[1]
    times = {"--help": [help_seconds() for _ in range(5)], "first update of the default": []}
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "ragdist").symlink_to(root / "ragdist")
            times["first update of the default"].append(first_update_seconds(Path(folder)))
    print(machine() + "\n")
    print(table(["what", "seconds"], [[name, spread(took)] for name, took in times.items()]))


if __name__ == "__main__":
    main()
