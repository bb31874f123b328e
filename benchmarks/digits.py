"""Whether a digits run makes all ten digits, judged by a classifier that was trained on the real ones.

python -m benchmarks.digits [RUN]
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from ragdist.generation import generator_file, sampling
from ragdist.runs.folder import RunFolder

if TYPE_CHECKING:
    from sklearn.svm import SVC


def judge() -> "tuple[SVC, float]":
    """A classifier of 8x8 digits, and its accuracy on a fifth that it has not seen."""
    from sklearn.datasets import load_digits  # scikit-learn takes seconds, which --help does not need
    from sklearn.svm import SVC

    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.target))
    train, test = order[359:], order[:359]
    classifier = SVC(gamma=0.001).fit(data.data[train], data.target[train])
    return classifier, classifier.score(data.data[test], data.target[test])


def classify(classifier: "SVC", samples: torch.Tensor) -> np.ndarray:
    """The digits that samples [n, 1, s, s] in [-1, 1] show."""
    small = torch.nn.functional.adaptive_avg_pool2d(samples, 8)
    return classifier.predict(small.add(1).mul(8).flatten(1).numpy())


def shares(run: Path, per_class: int = 100) -> tuple[list[float], float]:
    """For each digit the share of the run's samples of that class that are read as it; the judge's accuracy."""
    exported = generator_file.load(RunFolder(run).generator, torch.device("cpu"))
    classifier, accuracy = judge()
    found = []
    for digit in range(10):
        samples = torch.cat(list(sampling.sample(exported.generator, 1, per_class, chosen=digit)))
        found.append(float((classify(classifier, samples) == digit).mean()))
    return found, accuracy


def main() -> None:
    parser = command_line.parser("digits", __doc__)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/digits"), help="a run of the digits preset")
    run = parser.parse_args().run
    found, accuracy = shares(run)
    print(f"{machine()}; {run}; the judge reads {accuracy:.1%} of unseen real digits right\n")
    print(table(["digit", *map(str, range(10))], [["read as it", *(f"{share:.0%}" for share in found)]]))


if __name__ == "__main__":
    main()
