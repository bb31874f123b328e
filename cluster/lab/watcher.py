"""``python -m cluster.lab.watcher LAB ID PID START``: take a lab down when the process that owns it is gone."""

import sys

from cluster.lab import processes
from cluster.lab.making import take_down


def main() -> None:
    name, identity, pid, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    while not processes.wait_for_end([pid, start], 3600):
        pass
    take_down(name, identity)


if __name__ == "__main__":
    main()
