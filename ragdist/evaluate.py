"""``python -m ragdist.evaluate RUN``: how good a generator's samples are, as a table, as JSON, as a page."""

from pathlib import Path

from ragdist import cli
from ragdist.errors import UserError, run_command
from ragdist.metrics.options import METRICS, EvaluateOptions


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="python -m ragdist.evaluate",
        description="Judge samples by the data that they should look like.",
        epilog="Measures: " + "; ".join(f"{name}: {what}" for name, (_, what) in METRICS.items()) + ".",
    )
    parser.add_argument("source", help="a run's folder, a generator.safetensors, or a folder of images")
    parser.add_class_arguments(EvaluateOptions, None, as_group=False)
    values = parser.parse_args(cli.arguments() if argv is None else argv)
    options = cli.build(EvaluateOptions, values)
    for name in ("samples", "neighbours", "batch"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)}: it must be at least 1")
    for name in ("seed", "reals"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name} {getattr(options, name)}: it must be 0 or more")
    judge(Path(values.source), options)


def judge(source: Path, options: EvaluateOptions) -> None:
    """Evaluate, print the table, write the files."""
    from ragdist.evaluation import output
    from ragdist.evaluation import source as sources
    from ragdist.evaluation.evaluate import evaluate
    from ragdist.files import explain
    from ragdist.world import pick_device

    device = pick_device(options.device, deterministic=True)  # as in a run
    opened = sources.open_source(source, options, device)
    found = evaluate(opened.judged, opened.data, options, held_out=opened.held_out, device=device)
    print("\n".join(output.lines(found)))
    out = Path(options.out) if options.out else opened.out
    with explain(f"cannot write {out}"):
        out.mkdir(parents=True, exist_ok=True)
        page = output.write(out, found, opened)
    print(f"\nreport: {page}")


if __name__ == "__main__":
    run_command(main)
