"""``python -m cluster.lab.watcher LAB PID START``: take a lab down when the process that owns it is gone."""

import sys

from cluster.lab import processes
from cluster.lab.lab import take_down


def main() -> None:
    name, pid, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    while not processes.wait_for_end([pid, start], 3600):
        pass
    take_down(name)


if __name__ == "__main__":
    main()
