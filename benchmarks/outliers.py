"""One-class outlier detection on the digits that scikit-learn has: AUROC of a run's D and G, mean over the ten classes.

    python -m benchmarks.outliers [--seeds 1] [--invert 100] [--out FOLDER] [any option of ragdist.train]

A run a class and seed, trained on that class of four fifths of the digits, scores the last fifth of all digits, which
no run has seen. With --out what is there already is gone on with; a class takes about a minute of one core to train,
and another to find latents.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import options as command_line
from benchmarks.measure import machine, table

HERE = Path(__file__).parents[1]
CLASSES = range(10)
SCORES = ("logit", "features", "points", "residual", "combined", "training")
TITLES = {
    "logit": "-D(x)",
    "features": "nearest generated sample, D's features",
    "points": "nearest generated sample, pixels",
    "residual": "residual of the latent found, pixels",
    "combined": "combined: geometric mean of the three distances",
    "training": "baseline: nearest training image, pixels",
}
SAMPLES = 20_000


def call(module: str, *arguments: str, folder: Path) -> None:
    """Run a command of the project in a folder, which has to end well."""
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, env=command_line.here(HERE))


def make(folder: Path) -> None:
    """Make shards: of each class four fifths of the digits, and of all classes the last fifth."""
    parts = {f"one/{number}": ["--classes", str(number), "--take", "0:0.8"] for number in CLASSES}
    for name, options in (parts | {"test": ["--take", "0.8:1"]}).items():
        if not (folder / name).is_dir():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            call("ragdist.shards", "digits", name, "--size", "16", *options, folder=folder)


def figures(folder: Path, number: int, seed: int, invert: int, more: list[str]) -> dict[str, dict[str, float]]:
    """AUROC and AUPR of each score by the run of one class, trained and judged unless that is done."""
    out = f"runs/{number}-{seed}"
    if not (folder / out / "summary.json").is_file():
        options = ["--data", f"one/{number}", "--out", out, "--seed", str(seed), "--samples", str(SAMPLES)]
        call("ragdist.train", *options, "--network.labels", "false", *more, folder=folder)
    if not (folder / out / "outliers.json").is_file():
        options = ["--normal_labels", str(number), "--invert", str(invert), "--device", "cpu"]
        call("ragdist.outliers", out, "test", *options, folder=folder)
    return json.loads((folder / out / "outliers.json").read_text())["figures"]


def report(found: dict[int, list[dict[str, dict[str, float]]]], kind: str) -> str:
    """A table: a row a score, a column a class, and the mean; of several seeds the mean, and the means' ends."""
    rows = []
    for score in SCORES:
        if score not in found[0][0]:
            continue
        by_seed = [[one[score][kind] for one in runs] for runs in found.values()]
        means = [statistics.mean(values) for values in by_seed]
        each = [statistics.mean(values) for values in zip(*by_seed, strict=True)]
        ends = f" ({min(means):.4f} to {max(means):.4f})" if len(means) > 1 else ""
        rows.append([TITLES[score], *(f"{value:.3f}" for value in each), f"{statistics.mean(means):.4f}{ends}"])
    return table([kind.upper(), *map(str, CLASSES), "mean"], rows)


def main() -> None:
    parser = command_line.parser("outliers", __doc__, of_runs=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--invert", type=int, default=100)
    parser.add_argument("--out", type=Path, help="folder that is kept")
    own, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (own.out or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        found: dict[int, list[dict[str, dict[str, float]]]] = {}
        for seed in range(own.seeds):
            for number in CLASSES:
                print(f"seed {seed}, class {number}", file=sys.stderr, flush=True)
                found.setdefault(seed, []).append(figures(folder, number, seed, own.invert, more))
    seeds = f"{own.seeds} seed{'s' * (own.seeds > 1)}"
    print(f"{machine()}; one-class, {SAMPLES:,} samples seen, {seeds}, {own.invert} steps for a latent\n")
    print(report(found, "auroc"), report(found, "aupr"), sep="\n\n")


if __name__ == "__main__":
    main()
