"""What a search costs beyond its trials: the time before, between and after them, with trials of a few seconds.

python -m benchmarks.search [TRIALS [SAMPLES]]
"""

import tempfile
import time
from pathlib import Path

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from tune import run, search
from tune.folder import SearchFolder
from tune.state import SearchState

_TINY = ["--network.family=mlp", "--network.g_width=64", "--network.d_width=64", "--network.depth=2", "--batch_size=32"]


def main() -> None:
    parser = command_line.parser("search", __doc__)
    parser.add_argument("trials", nargs="?", type=int, default=32)
    parser.add_argument("samples", nargs="?", type=int, default=16_000, help="that each trial is trained on")
    options = parser.parse_args()
    trials, samples = options.trials, options.samples
    began, asked, judged = time.monotonic(), [], []
    _note(SearchState, "next", asked)
    _note(SearchState, "record", judged)
    with tempfile.TemporaryDirectory(prefix="ragdist-search-") as folder:
        plan, out, _ = search.parse(
            [*_TINY, "--trials", str(trials), "--budget_samples", str(samples), "--scheduler", "none",
             "--samples", "500", "--features", "pixels", "--data.path", f"{folder}/digits", "--data.source", "digits",
             "--search", "random", "--concurrent", "2", "--out", f"{folder}/search"]
        )  # fmt: skip
        run.run(plan, Path(out), overwrite=False, began=began)
        ended = time.monotonic()
        found = SearchFolder(out).read()
    first, last = asked[0], judged[-1]
    start = judged[0] - first - min(trial.rungs[0].seconds for trial in found[:2])  # of processes that import PyTorch
    each = [sum(rung.seconds for rung in trial.rungs) for trial in found]
    at_a_time = 2
    wall = last - first
    idle, later = (1 - sum(each) / (at_a_time * whole) for whole in (wall, wall - start))
    print(f"\n{machine()}; {len(found)} trials of {sum(each) / len(each):.1f} s, {at_a_time} at a time\n")
    head = [
        "until the first trial",
        "processes start",
        "all trials",
        "idle",
        "idle after the start",
        "a trial",
        "the end",
    ]
    between = (at_a_time * (wall - start) - sum(each)) / len(each)
    row = [first - began, start, wall, idle, later, between, ended - last]
    cells = [f"{value:.1%}" if "idle" in name else f"{value:.2f} s" for name, value in zip(head, row, strict=True)]
    print(table(head, [cells]))


def _note(kind: type, name: str, moments: list[float]) -> None:
    """Note when a method is called."""
    method = getattr(kind, name)

    def noting(*arguments, **named):
        moments.append(time.monotonic())
        return method(*arguments, **named)

    setattr(kind, name, noting)


if __name__ == "__main__":
    main()
