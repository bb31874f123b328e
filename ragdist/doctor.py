"""``python -m ragdist.doctor``: what is wrong with a cluster, and how to mend it."""

from dataclasses import dataclass

from ragdist import cli, rayenv
from ragdist.errors import UserError, run_command


@dataclass
class DoctorOptions:
    """What is looked at, beside the nodes themselves."""

    data: str = ""
    """shards that every node is to read, by path or URL; empty: not looked at"""
    out: str = ""
    """folder or URL for runs, which every node is to see; empty: not looked at"""
    cache: str = "~/.cache/ragdist/fetched"
    """folder for fetched shards on each node"""
    seconds: float = 3.0
    """how long each node reads shards"""
    reduce_mb: int = 64
    """megabytes of the all-reduce"""
    timeout: float = 60.0
    """seconds that a node may take for one check"""


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(
        prog="python -m ragdist.doctor",
        description="Look at every node of the Ray cluster that RAY_ADDRESS names (without it: at this machine): "
        "versions, storage, clocks, network, reading. Exit code 0: all is well, 1: something is to be mended.",
    )
    parser.add_class_arguments(DoctorOptions, None, as_group=False)
    options = cli.build(DoctorOptions, parser.parse_args(cli.arguments() if argv is None else argv))
    for name in ("seconds", "reduce_mb", "timeout"):
        if getattr(options, name) <= 0:
            raise UserError(f"--{name} {getattr(options, name)}: it must be above 0")

    rayenv.prepare(options.timeout)
    from ragdist.on_ray import checkup

    return checkup.run(options)


if __name__ == "__main__":
    run_command(main)
