"""Facts about this machine that each operating system tells in its own way: CPUs, memory, processes.

What Linux alone has (/proc, control groups, CPU affinity) is used where it is there, and missed nowhere.
"""

import math
import os
import resource
import sys
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """CPUs that this process may use: by its affinity, and by the quotas of its control groups, rounded up."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        here = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        here = len(os.sched_getaffinity(0))
    else:
        here = os.cpu_count()
    try:
        quota = cgroup_cpus((_PROC / "self/cgroup").read_text(), _CGROUPS)
    except OSError:
        quota = math.inf
    return max(1, min(here or 1, math.ceil(quota) if quota < math.inf else sys.maxsize))


def cgroup_cpus(memberships: str, root: Path) -> float:
    """CPUs that a process may keep busy by the quotas of its control groups, of both versions; infinite without one.

    Args:
        memberships: /proc/PID/cgroup of the process.
        root: folder of the control groups' file systems.
    """
    least = math.inf
    for line in memberships.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:  # version 2; beside version 1 it is mounted in a folder of its own
            tops, read = (root, root / "unified"), _quota
        elif "cpu" in controllers.split(","):
            tops, read = (root / controllers, root / "cpu"), _quota_of_version_1
        else:
            continue
        parts = [part for part in path.split("/") if part]
        if ".." in parts:  # a group outside of what this container sees
            parts = []
        for top in tops:  # a group's quota holds for all groups below it
            least = min(least, *(read(top.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)))
    return least


def _quota(group: Path) -> float:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return math.inf
    return _share(quota, period)


def _quota_of_version_1(group: Path) -> float:
    try:
        return _share(*((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")))
    except OSError:
        return math.inf


def _share(quota: str, period: str) -> float:
    """Microseconds of CPU time in each period, as CPUs; a quota of "max" or "-1" is none."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf


def memory() -> int:
    """Bytes of memory that the machine has; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def peak_memory() -> int:
    """Bytes that this process has had in memory at most."""
    try:  # getrusage counts what the process had that started this one, too
        status = (_PROC / "self/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def process_started(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None if it has ended, or the system does not tell."""
    try:
        state, start = parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else start


def process_alive(pid: int, started: int | None = None) -> bool:
    """Whether a process of this machine lives; where that cannot be known, yes. A zombie does not.

    Args:
        pid: its number, which a later process may have, too.
        started: what `process_started` said of it; then a later process of that number is not taken for it.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no system has such numbers
        return False
    except PermissionError:  # another user's: it lives, and is asked whether it is the one that is meant
        pass
    try:
        state, start = parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except (OSError, ValueError):  # the system does not tell
        return True
    return state not in "ZX" and started in (None, start)


def parse_stat(text: str) -> tuple[str, int]:
    """State and start time of a process in its /proc/PID/stat.

    Raises:
        ValueError: it is none.
    """
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    if len(fields) < 20:
        raise ValueError(f"not the state of a process: {text!r}")
    return fields[0], int(fields[19])
