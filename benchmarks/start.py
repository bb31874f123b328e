"""How long a command takes to say something: the seconds of ``--help`` and of a mistake, in a process of its own.

python -m benchmarks.start
"""

import subprocess
import sys
import time

from benchmarks import options as command_line
from benchmarks.measure import machine, table

COMMANDS = ("train", "shards", "generate", "evaluate", "doctor")
TIMES = 5


def seconds(*argv: str) -> float:
    """Seconds of a command, the least of some starts: a machine does other things beside."""
    found = []
    for _ in range(TIMES):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", *argv], capture_output=True)
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    command_line.parser("start", __doc__).parse_args()
    rows = [
        [f"ragdist.{name}", f"{seconds(f'ragdist.{name}', '--help'):.2f}", f"{seconds(f'ragdist.{name}', '--x=1'):.2f}"]
        for name in COMMANDS
    ]
    print(f"{machine()}; fastest of {TIMES}\n")
    print(table(["command", "--help [s]", "a mistake [s]"], rows))


if __name__ == "__main__":
    main()
