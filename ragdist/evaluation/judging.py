"""One evaluation, in steps: each worker makes its batches of samples, then rank 0 measures."""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ragdist.errors import UserError
from ragdist.evaluation.judged import Judged
from ragdist.evaluation.measure import PICTURED, Material, Result, measured
from ragdist.evaluation.reals import KEPT
from ragdist.evaluation.yardstick import IMAGE_BYTES, IMAGELY, Yardstick
from ragdist.metrics.dataset import DataSet
from ragdist.metrics.side import Collector
from ragdist.world import full_precision, shares

FORMAT, VERSION = "ragdist-evaluation", 1


@dataclass
class Evaluation:
    """A result, and all that is needed to repeat it."""

    judged: dict[str, Any]
    protocol: dict[str, Any]
    result: Result
    data: DataSet
    numbers: Any  # of the reals, in their order: NumPy int64 [reals]
    seen: int | None

    def content(self) -> dict[str, Any]:
        """For evaluation.json."""
        figures = {
            figure.name: {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in asdict(figure).items()
                if key != "name"
            }
            for figure in self.result.figures
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            "judged": self.judged,
            "protocol": self.protocol,
            "figures": figures,
            "notes": self.result.notes,
            "seconds": self.result.seconds,
        }


class Judgement:
    """Judges samples by a yardstick. Every rank takes the same number of steps; the last leaves the evaluation.

    Samples are made in batches that do not depend on the number of workers, each whole by one of them, so that
    each sample has the same bits, and the figures are the same, in any world.

    Args:
        judged: the samples.
        yardstick: what they are judged by.
    """

    def __init__(self, judged: Judged, yardstick: Yardstick):
        self.judged, self.yardstick = judged, yardstick
        batch, count = yardstick.options.batch, yardstick.count
        parts = shares(-(-count // batch), yardstick.world.size)
        mine = parts[yardstick.world.rank]
        self.batches = judged.batches(range(mine.start * batch, min(mine.stop * batch, count)), batch)
        self.rounds = len(parts[0])  # of batches, on the rank with most of them
        self.steps = self.rounds + 1 + len(yardstick.names)
        self.done = 0
        self.evaluation: Evaluation | None = None  # at the end, on rank 0
        self.result = Result()
        self._collector = Collector(yardstick.extractor, KEPT, yardstick.world.device)
        self._kept: list[Tensor] = []
        self._named: list[Tensor] = []
        self._problem: str | None = None
        self._began = time.perf_counter()

    @property
    def gathered(self) -> bool:
        """Whether rank 0 has what it needs: the steps that are left need no other rank."""
        return self.done > self.rounds

    @full_precision()
    def step(self) -> int:
        """Take the next step; how many samples it made.

        Raises:
            UserError: samples cannot be judged. Of several ranks all raise it, in the step that joins their parts.
        """
        self.done += 1
        if self.done <= self.rounds:
            return self._make()
        if self.done == self.rounds + 1:
            self._join()
        elif self.yardstick.world.rank == 0:
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
            if self.yardstick.world.size == 1:
                raise
            self._problem = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return 0

    def _make_batch(self) -> int:
        part, yardstick = next(self.batches, None), self.yardstick
        if part is None:
            return 0
        if IMAGELY & set(yardstick.names):
            most = min(PICTURED, IMAGE_BYTES // part.images[0].numel())
            self._kept.append(part.images[part.places < most].cpu())
        if yardstick.labels_matter and yardstick.namer is not yardstick.extractor:
            with torch.no_grad():
                self._named.append(yardstick.namer(part.images.to(yardstick.world.device))[1].argmax(1).cpu())
        self._collector.add(part)
        return len(part.places)

    def _join(self) -> None:
        """Bring the ranks' parts together on rank 0."""
        yardstick = self.yardstick
        world, names = yardstick.world, yardstick.names
        if problem := next(filter(None, world.gather(self._problem)), None):
            raise UserError(problem)
        logits = yardstick.extractor is yardstick.namer or "inception_score" in names
        fakes = self._collector.together(world, yardstick.options.neighbours, logits=logits)
        images = world.rows(torch.cat(self._kept) if self._kept else None)
        named = world.rows(torch.cat(self._named) if self._named else None)
        if world.rank:
            return
        if yardstick.labels_matter and yardstick.namer is yardstick.extractor:
            named = fakes.logits.argmax(1)
        self._fakes = fakes
        material = Material(
            features=yardstick.extractor.title,
            fakes=fakes,
            reals=yardstick.side,
            neighbours=yardstick.options.neighbours,
            spacing=lambda n: yardstick.spacing,
            fake_images=yardstick.images[:0] if images is None else images,
            real_images=yardstick.images,
            held_out=yardstick.held,
        )
        if yardstick.labels_matter:
            material.class_names, material.class_features = yardstick.data.index.classes, yardstick.namer.title
            material.fake_classes, material.real_counts = named[:KEPT], yardstick.real_counts
            if self.judged.labelled:
                material.asked_classes = fakes.labels
        self.result.seconds["gathering"] = round(time.perf_counter() - self._began, 3)
        self._measures = measured(material, names, self.result)

    def _conclude(self) -> None:
        yardstick, data = self.yardstick, self.yardstick.data
        if data.bad:
            self.result.notes.append(
                f"{len(data.bad):,} reals cannot be read and were left out: `python -m ragdist.shards check`"
            )
        self.evaluation = Evaluation(
            self.judged.about, yardstick.protocol(), self.result, data, yardstick.reals.numbers, self.judged.seen
        )
