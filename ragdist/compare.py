"""``python -m ragdist.compare RUN...``: a table and a page over runs and seeds, by the evaluations that they have."""

import json
import sys
from pathlib import Path

from ragdist.config import cli
from ragdist.config.compare import CompareOptions
from ragdist.config.option import check_limits
from ragdist.tools.errors import run_command


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="python -m ragdist.compare",
        description="Compare runs: those that differ in nothing but the seed are one row, with the median (least to "
        "most) of each figure. Figures are those of `ragdist.evaluate`, else the last of --evaluate_every.",
    )
    parser.add_argument("runs", nargs="+", help="runs, by path or URL, or folders of runs")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_class_arguments(CompareOptions, None, as_group=False)
    values = parser.parse_args(cli.arguments() if argv is None else argv)
    options = cli.build(CompareOptions, values)
    check_limits(options)
    run(values.runs, options, as_json=values.json)


def run(wheres: list[str], options: CompareOptions, *, as_json: bool) -> None:
    """Read the runs, print the table, write the page."""
    from ragdist.evaluation import compare, compare_page
    from ragdist.storage.files import os_errors_as_user_error, write_whole

    found = compare.compare(wheres, options.figures)
    print(json.dumps(found.content(), indent=1) if as_json else "\n".join(compare_page.lines(found)))
    if as_json and not options.out:
        return
    out = Path(options.out or "comparison.html")
    with os_errors_as_user_error(f"cannot write {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, compare_page.build(found))
    print(f"\nreport: {out}", file=sys.stderr if as_json else sys.stdout)


if __name__ == "__main__":
    run_command(main)
