"""``python -m ragdist.evaluate RUN``: an evaluation of a generator's samples, as a table, as JSON, as a page."""

from pathlib import Path
from typing import TYPE_CHECKING

from ragdist.config import cli
from ragdist.config.evaluation import METRICS, EvaluateOptions
from ragdist.config.option import check_limits
from ragdist.tools.errors import run_command

if TYPE_CHECKING:  # PyTorch takes seconds to import, and --help does not need it
    from ragdist.distributed.world import World
    from ragdist.evaluation.source import Opened
    from ragdist.evaluation.steps import EvaluationSteps

WANTED = ("config.yaml", "generator.safetensors", "metrics.jsonl", "evaluations.jsonl")  # files of a run at a URL


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="python -m ragdist.evaluate",
        description="Judge samples by the data that they should look like.",
        epilog="Measures: " + "; ".join(f"{name}: {what}" for name, (_, what) in METRICS.items()) + ".",
    )
    parser.add_argument(
        "source",
        help="a run, a generator.safetensors, by path or URL, a folder of samples or of shards, or a file of texts",
    )
    parser.add_class_arguments(EvaluateOptions, None, as_group=False)
    values = parser.parse_args(cli.load_plugins(cli.arguments() if argv is None else argv))
    options = cli.build(EvaluateOptions, values)
    check_limits(options)
    run(values.source, options)


def run(where: str, options: EvaluateOptions) -> None:
    """Evaluate, print the table, write the files."""
    from ragdist.config import settings
    from ragdist.distributed import local_workers
    from ragdist.evaluation.evaluate import measure
    from ragdist.evaluation.report import table
    from ragdist.runs.folder import RunFolder
    from ragdist.runs.local_copy import local_copy
    from ragdist.storage.files import os_errors_as_user_error
    from ragdist.storage.store import scheme

    with local_copy(where, *WANTED) as source:
        if scheme(where) is None:  # what was fetched may name no code of this machine
            settings.load_plugins_of(RunFolder(source if source.is_dir() else source.parent).config)
        opened, steps = local_workers.share(options.workers, options.device, gather, source, where, options)
        found = measure(steps)
        found.result.notes += opened.notes
        print("\n".join(table.lines(found)))
        out = Path(options.out) if options.out else opened.out
        with os_errors_as_user_error(f"cannot write {out}"):
            out.mkdir(parents=True, exist_ok=True)
            page = table.write(out, found, opened)
    print(f"\nreport: {page}")


def gather(world: "World", source: Path, where: str, options: EvaluateOptions) -> "tuple[Opened, EvaluationSteps]":
    """Make and gather the samples of one worker."""
    from ragdist.evaluation import evaluate
    from ragdist.evaluation.source import open_source

    opened = world.run_on_all(lambda: open_source(source, options, world.device, where=where))
    return opened, evaluate.gather(opened.samples, opened.data, options, held_out=opened.held_out, world=world)


if __name__ == "__main__":
    run_command(main)
