"""``python -m ragdist.evaluate RUN``: how good a generator's samples are, as a table, as JSON, as a page."""

from pathlib import Path
from typing import TYPE_CHECKING

from ragdist import cli
from ragdist.errors import UserError, run_command
from ragdist.metrics.options import METRICS, EvaluateOptions

if TYPE_CHECKING:  # PyTorch takes seconds to import, and --help does not need it
    from ragdist.evaluation.judging import Judgement
    from ragdist.evaluation.source import Opened
    from ragdist.world import World

WANTED = ("config.yaml", "generator.safetensors", "metrics.jsonl", "evaluations.jsonl")  # files of a run at a URL


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="python -m ragdist.evaluate",
        description="Judge samples by the data that they should look like.",
        epilog="Measures: " + "; ".join(f"{name}: {what}" for name, (_, what) in METRICS.items()) + ".",
    )
    parser.add_argument("source", help="a run, a generator.safetensors, by path or URL, or a folder of images")
    parser.add_class_arguments(EvaluateOptions, None, as_group=False)
    values = parser.parse_args(cli.arguments() if argv is None else argv)
    options = cli.build(EvaluateOptions, values)
    for name in ("samples", "neighbours", "batch", "workers"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: it must be at least 1")
    for name in ("seed", "reals"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name} {getattr(options, name)}: it must be 0 or more")
    judge(values.source, options)


def judge(where: str, options: EvaluateOptions) -> None:
    """Evaluate, print the table, write the files."""
    from ragdist import processes
    from ragdist.athand import at_hand
    from ragdist.evaluation import output
    from ragdist.evaluation.evaluate import measure
    from ragdist.files import explain

    with at_hand(where, *WANTED) as source:
        opened, judgement = processes.share(options.workers, options.device, gather, source, where, options)
        found = measure(judgement)
        print("\n".join(output.lines(found)))
        out = Path(options.out) if options.out else opened.out
        with explain(f"cannot write {out}"):
            out.mkdir(parents=True, exist_ok=True)
            page = output.write(out, found, opened)
    print(f"\nreport: {page}")


def gather(world: "World", source: Path, where: str, options: EvaluateOptions) -> "tuple[Opened, Judgement]":
    """One worker's part of the evaluation."""
    from ragdist.evaluation import evaluate
    from ragdist.evaluation.source import open_source

    opened = world.together(lambda: open_source(source, options, world.device, where=where))
    return opened, evaluate.gather(opened.judged, opened.data, options, held_out=opened.held_out, world=world)


if __name__ == "__main__":
    run_command(main)
