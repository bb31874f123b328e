"""``python -m cluster.lab.watcher LAB ID PID START``: take a lab down when the process that owns it is gone."""

import argparse

from cluster.lab import processes
from cluster.lab.making import take_down


def main() -> None:
    parser = argparse.ArgumentParser("python -m cluster.lab.watcher", description=__doc__)
    parser.add_argument("lab", help="name of the lab")
    parser.add_argument("id", help="of the lab: a later one of that name stays")
    parser.add_argument("pid", type=int, help="of the process that owns it")
    parser.add_argument("start", type=int, help="of that process, in clock ticks since the boot")
    options = parser.parse_args()
    while not processes.wait_for_end([options.pid, options.start], 3600):
        pass
    take_down(options.lab, options.id)


if __name__ == "__main__":
    main()
