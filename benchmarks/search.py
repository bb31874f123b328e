"""What a search costs beyond its trials: the time before, between and after them, with trials of a few seconds.

python -m benchmarks.search [TRIALS [IMAGES]]
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine, table
from tune import run, search
from tune.course import Course
from tune.folder import SearchFolder

_TINY = ["--network.family=mlp", "--network.g_width=64", "--network.d_width=64", "--network.depth=2", "--batch_size=32"]


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    images = int(sys.argv[2]) if len(sys.argv) > 2 else 16_000
    began, moments = time.monotonic(), []
    _note(Course, "next", moments)
    _note(Course, "judged", moments)
    with tempfile.TemporaryDirectory(prefix="ragdist-search-") as folder:
        plan, out, _ = search.parse(
            [*_TINY, "--trials", str(trials), "--budget_images", str(images), "--scheduler", "none", "--samples", "500",
             "--features", "pixels", "--data.path", f"{folder}/digits", "--data.source", "digits",
             "--search", "random", "--concurrent", "2", "--out", f"{folder}/search"]
        )  # fmt: skip
        run.run(plan, Path(out), overwrite=False, began=began)
        ended = time.monotonic()
        found = SearchFolder(out).read()
    first, last = moments[0], moments[-1]
    each = [sum(rung.seconds for rung in trial.rungs) for trial in found]
    at_a_time = 2
    wall = last - first
    idle = 1 - sum(each) / (at_a_time * wall)
    print(f"\n{machine()}; {len(found)} trials of {sum(each) / len(each):.1f} s, {at_a_time} at a time\n")
    print(
        table(
            ["from the command to the first trial", "all trials", "idle", "beside each trial", "after the last"],
            [[f"{first - began:.1f} s", f"{wall:.1f} s", f"{idle:.1%}",
              f"{(at_a_time * wall - sum(each)) / len(each):.2f} s", f"{ended - last:.1f} s"]],
        )
    )  # fmt: skip


def _note(kind: type, name: str, moments: list[float]) -> None:
    """Note when a method is called."""
    method = getattr(kind, name)

    def noting(*arguments, **named):
        moments.append(time.monotonic())
        return method(*arguments, **named)

    setattr(kind, name, noting)


if __name__ == "__main__":
    main()
