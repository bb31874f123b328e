"""An evaluation in steps: each worker makes its batches of samples, then rank 0 measures."""

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ragdist.distributed.world import full_precision, shares
from ragdist.evaluation.feature_set import Collector
from ragdist.evaluation.measures import measured
from ragdist.evaluation.reference import SAMPLE_BYTES, Reference
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.reference_features import KEPT
from ragdist.evaluation.samples import Samples
from ragdist.metrics import MEASURES
from ragdist.metrics.measure import Material, Result
from ragdist.tools.errors import UserError

FORMAT, VERSION = "ragdist-evaluation", 1


@dataclass
class Evaluation:
    """The result of an evaluation, and all that is needed to repeat it."""

    samples: dict[str, Any]
    protocol: dict[str, Any]
    result: Result
    data: DataSet
    numbers: Any  # of the reals, in their order: NumPy int64 [reals]
    seen: int | None

    def content(self) -> dict[str, Any]:
        """The content of evaluation.json."""
        figures = {
            figure.name: {
                key: _finite(value)
                for key, value in asdict(figure).items()
                if key != "name" and (key != "code" or value)
            }
            for figure in self.result.figures
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            "judged": self.samples,
            "protocol": self.protocol,
            "figures": figures,
            **self._compared(),
            "notes": self.result.notes,
            "seconds": self.result.seconds,
        }

    def _compared(self) -> dict[str, Any]:
        """Headlines and tables, of measures that have them."""
        tables = [
            {
                "title": table.title,
                "columns": table.columns,
                "rows": [
                    {"title": title, **{name: _finite(x) for name, x in zip(table.columns, values, strict=True)}}
                    for title, values in table.rows
                ],
            }
            for table in self.result.tables
        ]
        found = {"headlines": self.result.headlines, "tables": tables}
        return {name: value for name, value in found.items() if value}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class EvaluationSteps:
    """The steps of one evaluation. Every rank takes equally many; after the last there is the evaluation.

    Samples are made in batches that do not depend on the number of workers, each whole by one of them, so that
    each sample has the same bits, and the figures are the same, in any world.

    Args:
        samples: the samples to evaluate.
        reference: the reference that the samples are compared with.
    """

    def __init__(self, samples: Samples, reference: Reference):
        self.samples, self.reference = samples, reference
        batch, count = reference.options.batch, reference.count
        parts = shares(-(-count // batch), reference.world.size)
        mine = parts[reference.world.rank]
        self.batches = samples.batches(range(mine.start * batch, min(mine.stop * batch, count)), batch)
        self.rounds = len(parts[0])  # of batches, on the rank with most of them
        self.steps = self.rounds + 1 + len(reference.names)
        self.done = 0
        self.evaluation: Evaluation | None = None  # at the end, on rank 0
        self.result = Result()
        self._collector = Collector(reference.extractor, KEPT, reference.world.device)
        self._kept: list[Tensor] = []
        self._named: list[Tensor] = []
        self._problem: str | None = None
        self._began = time.perf_counter()

    @property
    def gathered(self) -> bool:
        """Whether rank 0 has all samples: the steps that are left need no other rank."""
        return self.done > self.rounds

    @full_precision()
    def step(self) -> int:
        """Take the next step; the number of samples it made.

        Raises:
            UserError: samples cannot be evaluated. Of several ranks all raise it, in the step that joins their parts.
        """
        self.done += 1
        if self.done <= self.rounds:
            return self._make()
        if self.done == self.rounds + 1:
            self._join()
        elif self.reference.world.rank == 0:
            next(self._measures)
            if self.done == self.steps:
                self._conclude()
        return 0

    def _make(self) -> int:
        if self._problem:
            return 0
        try:
            return self._make_batch()
        except Exception as error:
            if self.reference.world.size == 1:
                raise
            self._problem = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return 0

    def _make_batch(self) -> int:
        part, reference = next(self.batches, None), self.reference
        if part is None:
            return 0
        if reference.keeps_samples:
            most = min(reference.most("keeps"), SAMPLE_BYTES // part.samples[0].nbytes)
            self._kept.append(part.samples[part.places < most].cpu())
        if reference.labels_matter and reference.namer is not reference.extractor:
            with torch.no_grad():
                self._named.append(reference.namer(part.samples.to(reference.world.device))[1].argmax(1).cpu())
        self._collector.add(part)
        return len(part.places)

    def _join(self) -> None:
        """Bring the ranks' parts together on rank 0."""
        reference = self.reference
        world, names = reference.world, reference.names
        if problem := next(filter(None, world.gather(self._problem)), None):
            raise UserError(problem)
        logits = reference.extractor is reference.namer or any(MEASURES[name].features for name in names)
        fakes = self._collector.gather(world, reference.options.neighbours, logits=logits)
        samples = world.rows(torch.cat(self._kept) if self._kept else None)
        named = world.rows(torch.cat(self._named) if self._named else None)
        changes = world.gather(dict(getattr(self.samples, "changes", {})))
        if world.rank:
            return
        if reference.labels_matter and reference.namer is reference.extractor:
            named = fakes.logits.argmax(1)
        self._fakes = fakes
        changed = sum(map(Counter, changes), Counter())
        self.result.notes += [f"{what}: {count:,} of {fakes.count:,} samples" for what, count in changed.items()]
        material = Material(
            features=reference.extractor.title,
            fakes=fakes,
            reals=reference.feature_set,
            neighbours=reference.options.neighbours,
            spacing=lambda n: reference.spacing,
            fake_samples=reference.samples[:0] if samples is None else samples,
            real_samples=reference.samples,
            unit=reference.making.unit,
            units=reference.making.units,
            form=reference.data.index.form,
            held_out=reference.held,
            held_out_samples=reference.held_samples,
            remembered=reference.remembered,
        )
        if reference.labels_matter:
            material.class_names, material.class_features = reference.data.index.classes, reference.namer.title
            material.fake_classes, material.real_counts = named[:KEPT], reference.real_counts
            if self.samples.labelled:
                material.asked_classes = fakes.labels
        self.result.seconds["gathering"] = round(time.perf_counter() - self._began, 3)
        asked = reference.options.metrics not in ("all", "cheap")
        self._measures = measured(material, names, self.result, asked=asked)

    def _conclude(self) -> None:
        reference, data = self.reference, self.reference.data
        if data.bad:
            self.result.notes.append(
                f"{len(data.bad):,} reals cannot be read and were left out: `python -m ragdist.shards check`"
            )
        self.evaluation = Evaluation(
            self.samples.about, reference.protocol(), self.result, data, reference.reals.numbers, self.samples.seen
        )
