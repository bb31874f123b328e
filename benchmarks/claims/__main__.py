"""Whether a RAG is more diverse, more stable, and content with less data: trained, judged, and written down.

    python -m benchmarks.claims [--studies grid stacked ...] [--seeds 5] [--jobs 2] [--page docs/claims.md]

The results are lines of --out's claims.jsonl: started again, the command trains what is missing. --digits takes any
shards of grey digits with ten labels (MNIST's, say), --photographs any RGB shards with labels, --speech any clips,
--text any texts.
"""

import statistics
from pathlib import Path

from benchmarks import options as command_line
from benchmarks.claims import page, run
from benchmarks.claims.plan import STUDIES, cells
from ragdist.tools.errors import UserError, run_command
from ragdist.tools.progress import Progress


def main() -> None:
    parser = command_line.parser("claims", __doc__)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), metavar="STUDY",
                        help=", ".join(STUDIES).replace("%", "%%"))  # fmt: skip
    parser.add_argument("--seeds", type=int, default=5, help="trainings of everything")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--digits", default="shards/digits8", help="shards of grey digits with ten labels")
    parser.add_argument("--photographs", default="shards/cifar16", help="shards of RGB images with labels")
    parser.add_argument("--speech", default="shards/spoken", help="shards of clips with labels")
    parser.add_argument("--text", default="shards/lines", help="shards of texts")
    parser.add_argument("--out", type=Path, default=Path("claims"), help="folder of the results")
    parser.add_argument("--page", type=Path, default=None, help="Markdown page to write; its plots go to images/ there")
    options = parser.parse_args()
    if unknown := [name for name in options.studies if name not in STUDIES]:
        raise UserError(f"--studies {unknown[0]}: there is no such study; there are: {', '.join(STUDIES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "claims.jsonl"
    found = run.read(results)
    planned = cells(options.studies, options.seeds)
    todo = [cell for cell in planned if cell not in found]
    data = {
        "digits": options.digits,
        "photographs": options.photographs,
        "speech": options.speech,
        "text": options.text,
    }
    if todo:
        for name in {STUDIES[cell.study].task for cell in todo} - {"toy:grid", "toy:ring", "routes"}:
            run.task(name, 1.0, data[{"stacked": "digits"}.get(name, name)])  # its classifier is trained once, here
        progress = Progress(len(planned), unit="trainings", done=len(planned) - len(todo))

        def said(cell, row) -> None:
            progress.advance(1)
            progress.describe(f"{cell.study}, {cell.loss}, {cell.variant}: {page.brief(row)}")

        run.run(todo, results, data, options.jobs, said)
        progress.close()
        found = run.read(results)
    seconds = statistics.fmean(row["seconds"] for row in found.values())
    print(f"{len(found)} trainings, {seconds:.0f} s each: {results}")
    if options.page:
        page.write(options.page, found)
        print(f"page: {options.page}")


if __name__ == "__main__":
    run_command(main)
