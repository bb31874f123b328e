"""What evaluating on the way costs a training: the time that it says it took, and the seconds with and without.

    python -m benchmarks.inrun [--rounds 3] [--samples 32000] [--every 8000] [any option of ragdist.train]

Runs of both kinds in turn, each in a process of its own, on the digits preset. Seconds are those of training as
summary.json has them: what the run does before its first update and after its last does not count, here or there.
Evaluations are steps of the training's own thread, so the share of its time that they take is measured where they
are (`evaluation_share`), which a comparison of whole runs on a noisy machine is too coarse for.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import options as command_line
from benchmarks.measure import machine, spread, table

HERE = Path(__file__).parents[1]


def train(folder: Path, name: str, arguments: list[str]) -> tuple[float, float, int]:
    """Seconds of training, evaluations' share of them, and how many there were, the last one after the training."""
    out = folder / name
    command = [
        sys.executable,
        "-m",
        "ragdist.train",
        "--data",
        str(folder / "digits"),
        "--out",
        str(out),
        "--overwrite",
    ]
    subprocess.run([*command, *arguments], check=True, cwd=HERE, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    evaluations = sum(any(key.startswith("evaluate/") for key in line) for line in lines)
    share = next((line["evaluation_share"] for line in reversed(lines) if "evaluation_share" in line), 0.0)
    return json.loads((out / "summary.json").read_text())["seconds"], share, evaluations


def main() -> None:
    parser = command_line.parser("inrun", __doc__, of_runs=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", "--images", type=int, default=32_000)
    parser.add_argument("--every", type=int, default=8_000)
    own, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make = [sys.executable, "-m", "ragdist.shards", "digits", str(folder / "digits"), "--size", "16"]
        subprocess.run(make, check=True, cwd=HERE, stdout=subprocess.DEVNULL)
        kinds = {"without": [], "with": ["--evaluate_every", str(own.every), "--evaluate.cache", str(folder / "cache")]}
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        shares: list[float] = []
        for number in range(own.rounds + 1):  # the first warms up: it computes what is cached of the reals
            for kind, more in kinds.items():
                took, share, evaluations = train(folder, kind, [*more, "--samples", str(own.samples), *rest])
                print(f"round {number} of {own.rounds}, {kind}: {took:.1f} s", file=sys.stderr, flush=True)
                if number:
                    found[kind].append(took)
                if number and more:
                    shares.append(share)
    ratios = [b / a for a, b in zip(found["without"], found["with"], strict=True)]
    print(
        f"{machine()}; {own.samples:,} images, evaluated every {own.every:,}: {evaluations} times, the last after the "
        f"training; {own.rounds} rounds\n"
    )
    rows = [["without evaluations", "", spread(found["without"], 1), "1"],
            ["with evaluations", spread([100 * share for share in shares]) + "%", spread(found["with"], 1),
             spread(ratios, 3)]]  # fmt: skip
    print(table(["training", "evaluations' share of its time", "seconds", "ratio"], rows))


if __name__ == "__main__":
    main()
