"""Scoring of a data set by a run, from opening both to figures."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ragdist import modalities
from ragdist.config.outliers import OutlierOptions
from ragdist.data.index import INDEX
from ragdist.evaluation.outliers import networks as networks_of_runs
from ragdist.evaluation.outliers import protocol as protocols
from ragdist.evaluation.outliers.networks import Networks
from ragdist.evaluation.outliers.protocol import Protocol
from ragdist.evaluation.outliers.scores import READ, READ_TO_INVERT, Scored, Scorer
from ragdist.evaluation.reference import progress
from ragdist.evaluation.reference_data import Batch, DataSet
from ragdist.evaluation.samples import FolderSamples
from ragdist.metrics.ranking import auroc, average_precision
from ragdist.storage.store import scheme
from ragdist.tools.errors import UserError

FORMAT, VERSION = "ragdist-outliers", 1
NONE = "none"


class Given:
    """The samples to score: those of shards, or files of a folder, by number.

    Args:
        where: shards by path or URL, or a folder of files that are samples, or a file of many.
        networks: of the run.
        options: of `ragdist.outliers`.

    Raises:
        UserError: there are none, or they are of another form than the run's.
    """

    def __init__(self, where: str, networks: Networks, options: OutlierOptions):
        self.where, self.form, self.classes, self.digest = where, networks.form, (), ""
        path, self.data, self.folder = Path(where), None, None
        files = scheme(where) is None and path.exists() and not (path / INDEX).is_file()
        if files and not any(path.glob("*.tar")):
            self.folder = FolderSamples(path, networks.codec, networks.form, None)
            self.count = len(self.folder.files)
            self._first = {path: n for n, (path, _) in reversed([*enumerate(self.folder.files)])}  # of a file's samples
            return
        self.data = DataSet(where, Path(options.cache).expanduser())
        index = self.data.index
        if index.codec != networks.codec or not modalities.alike(index.codec, index.form, networks.form):
            raise UserError(
                f"{where} holds samples of shape {list(index.shape)} ({index.codec}), and {networks.about['run']} "
                f"makes {list(networks.form.shape)} ({networks.codec}): give DATA made like the training data"
            )
        self.count, self.classes, self.digest = len(self.data), index.classes, index.digest

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples, in batches."""
        if self.data is None:
            return self.folder.batches(range(self.count), size)
        return self.data.batches(np.arange(self.count), size)

    def samples(self, numbers: np.ndarray) -> Tensor:
        """Stored samples with these numbers."""
        if self.data is not None:
            return self.data.samples(numbers)[0]
        each = [next(iter(self.folder.batches(range(n, n + 1), 1))).samples for n in numbers.tolist()]
        return torch.cat(each)

    def name(self, number: int) -> str:
        """Where a sample is, counted from 0: ``shard-000000.tar:17``, ``lines.txt:3``, or a file's path."""
        if self.data is None:
            path, content = self.folder.files[number]
            return f"{path}:{number - self._first[path]}" if content is not None else str(path)
        shards, places = self.data.located(np.array([number]))
        return f"{self.data.index.shards[int(shards[0])].name}:{int(places[0])}"


@dataclass
class Figures:
    """How well one score tells outliers from normal samples."""

    auroc: float
    aupr: float


@dataclass
class Found:
    """Scores of all samples, figures, and what is needed to repeat them."""

    given: Given
    networks: Networks
    options: OutlierOptions
    scorer: Scorer
    scored: Scored
    training: DataSet | None
    protocol: Protocol | None
    figures: dict[str, Figures] = field(default_factory=dict)  # by column
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def content(self) -> dict[str, Any]:
        """The content of outliers.json."""
        kept = ("samples", "seed", "invert", "rate", "batch")
        return {
            "format": FORMAT,
            "version": VERSION,
            "run": self.networks.about,
            "data": {"where": self.given.where, "digest": self.given.digest, "samples": len(self.scored.numbers)},
            "options": {name: getattr(self.options, name) for name in kept},
            "training": self.training
            and {"where": self.training.where, "digest": self.training.index.digest, "samples": self.scorer.reals},
            "protocol": self.protocol and self.protocol.content(),
            "figures": {name: asdict(figures) for name, figures in self.figures.items()},
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def find(path: Path, run: str, where: str, options: OutlierOptions, device: torch.device) -> Found:
    """Score all samples of a data set by a run.

    Args:
        path: the run's folder.
        run: what the user calls it.
        where: the data set, shards by path or URL, or a folder of samples.
        options: of `ragdist.outliers`.
        device: of the networks.

    Raises:
        UserError: there is no run with a checkpoint, no such data, or no protocol has these labels.
    """
    began = time.perf_counter()
    networks = networks_of_runs.load(path, run, device)
    given = Given(where, networks, options)
    training, notes = _training(networks, options)
    trained = _trained_on(networks, training)
    labels = given.data.labels if given.data is not None else torch.full((given.count,), -1)
    said = {name: getattr(options, name) for name in ("outlier_labels", "normal_labels")}
    about = {"where": where, "run": run}
    protocols.protocol(labels, given.classes, said, trained, **about)  # what is wrong is said before it takes time
    if given.digest == networks.about["data"]:
        notes.append(f"{where} is the training data of {run}: distances to the training samples are 0")
    units = modalities.making(networks.codec).units
    total = options.samples + (0 if training is None else min(len(training), options.reals))
    scorer = Scorer(networks, options, training, progress(total, f"{units} to compare with"))
    size = READ_TO_INVERT if options.invert else READ
    scored = scorer.score(given.batches(size), progress(given.count, units))
    if missing := given.count - len(scored.numbers):
        notes.append(f"{missing:,} samples of {where} cannot be read and were left out: see `ragdist.shards check`")
    found = Found(given, networks, options, scorer, scored, training, None, notes=notes)
    found.protocol = chosen = protocols.protocol(scored.labels, given.classes, said, trained, **about)
    if chosen is not None:
        for name, column in scored.columns.items():
            score, outlier = column[chosen.judged], chosen.outlier[chosen.judged]
            found.figures[name] = Figures(auroc(score, outlier), average_precision(score, outlier))
        if left := int((~chosen.judged).sum()):
            notes.append(f"{left:,} samples of {where} have no label: scored, and not judged")
    found.seconds = time.perf_counter() - began
    return found


def _training(networks: Networks, options: OutlierOptions) -> tuple[DataSet | None, list[str]]:
    """The training data where they are at hand, and notes on why they are not."""
    if options.train == NONE:
        return None, []
    where, run = options.train or networks.data, networks.about["run"]
    cache = Path(options.cache).expanduser() if options.train else networks.cache
    try:
        data = DataSet(where, cache)
    except UserError as error:
        if options.train:
            raise
        return None, [f"no distances to the training data, which are not at hand ({error}): --train WHERE"]
    if data.index.digest == networks.about["data"]:
        return data, []
    problem = f"{where} is not the data that {run} was trained on (index {data.index.digest[:12]}, not "
    problem += f"{networks.about['data'][:12]})"
    if options.train:
        raise UserError(f"--train {problem}")
    return None, [f"no distances to the training data: {problem}"]


def _trained_on(networks: Networks, training: DataSet | None) -> list[str] | None:
    """Names of the classes that the run was trained on; None where the training data have none."""
    if not networks.classes:
        return None
    if training is None:
        return list(networks.classes)
    counts = torch.bincount(training.labels[training.labels >= 0], minlength=len(networks.classes))
    return [name for name, count in zip(networks.classes, counts.tolist(), strict=True) if count]
