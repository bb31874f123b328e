"""``python -m ragdist.doctor``: what is wrong with a cluster, and how to mend it."""

from ragdist.config import cli
from ragdist.config.doctor import DoctorOptions
from ragdist.config.option import check_limits
from ragdist.launch.on_ray import environment
from ragdist.tools.errors import run_command


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(
        prog="python -m ragdist.doctor",
        description="Look at every node of the Ray cluster that RAY_ADDRESS names (without it: at this machine): "
        "versions, storage, clocks, network, reading. Exit code 0: all is well, 1: something is to be mended.",
    )
    parser.add_class_arguments(DoctorOptions, None, as_group=False)
    options = cli.build(DoctorOptions, parser.parse_args(cli.arguments() if argv is None else argv))
    check_limits(options)

    environment.require("the doctor")
    environment.prepare(options.timeout)
    from ragdist.launch.on_ray import doctor_checks

    return doctor_checks.run(options)


if __name__ == "__main__":
    run_command(main)
