"""Command lines of the benchmarks: ``--help`` prints what a benchmark measures, and the options of its own."""

import argparse
import os
from pathlib import Path

_TRAIN = "Options of a run may follow: python -m ragdist.train --help all"


def parser(name: str, doc: str, *, of_runs: bool = False) -> argparse.ArgumentParser:
    """Make the parser of a benchmark. Options are not abbreviated: one of a run may begin like one of the benchmark.

    Args:
        name: of the module in benchmarks.
        doc: the module's docstring.
        of_runs: whether options of a run may follow, which `parse_known_args` leaves.
    """
    return argparse.ArgumentParser(
        f"python -m benchmarks.{name}",
        description=doc,
        epilog=_TRAIN if of_runs else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def here(root: Path) -> dict[str, str]:
    """The environment of a command that runs in another folder, and is to find the project all the same."""
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}
