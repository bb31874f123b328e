"""``python -m ragdist.outliers RUN DATA``: how unlike a run's training data its D and G find each sample of DATA."""

from pathlib import Path

from ragdist.config import cli
from ragdist.config.option import check_limits
from ragdist.config.outliers import OutlierOptions
from ragdist.tools.errors import run_command


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="python -m ragdist.outliers",
        description="Score samples by a run's discriminator and generator, the higher the less typical; with labels "
        "that say which are outliers, AUROC and AUPR of each score. Protocols: one-class (a run trained on one class) "
        "and leave-one-out (on all but one), which are told apart by what the run was trained on.",
    )
    parser.add_argument("run", help="a run's folder, or its URL; an exported generator has no discriminator")
    parser.add_argument("data", help="samples to score: shards, by path or URL, or a folder of files")
    parser.add_class_arguments(OutlierOptions, None, as_group=False)
    values = parser.parse_args(cli.load_plugins(cli.arguments() if argv is None else argv))
    options = cli.build(OutlierOptions, values)
    check_limits(options)
    run(values.run, values.data, options)


def run(where: str, data: str, options: OutlierOptions) -> None:
    """Score, print the table, write the files."""
    from ragdist.config import settings
    from ragdist.distributed.world import pick_device
    from ragdist.evaluation.outliers import report
    from ragdist.evaluation.outliers.find import find
    from ragdist.evaluation.outliers.networks import opened_run
    from ragdist.runs.folder import RunFolder
    from ragdist.storage.files import os_errors_as_user_error
    from ragdist.storage.store import scheme

    with opened_run(where) as path:
        local = scheme(where) is None
        if local:  # what was fetched may name no code of this machine
            settings.load_plugins_of(RunFolder(path).config)
        found = find(path, where, data, options, pick_device(options.device, deterministic=True))
        print("\n".join(report.lines(found)))
        own = path if local else Path(f"{where.rstrip('/').rpartition('/')[2]}-outliers")
        out = Path(options.out) if options.out else own
        with os_errors_as_user_error(f"cannot write {out}"):
            out.mkdir(parents=True, exist_ok=True)
            page = report.write(out, found)
    print(f"\nreport: {page}   each sample: {page.with_name(report.CSV)}")


if __name__ == "__main__":
    run_command(main)
