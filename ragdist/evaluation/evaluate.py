"""One evaluation from what is judged and the data to the result: gather both sides, measure, say how."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ragdist.errors import UserError
from ragdist.evaluation.judged import Judged
from ragdist.evaluation.measure import PICTURED, Material, Result, measure
from ragdist.evaluation.reals import KEPT, Reals
from ragdist.metrics import classes, side
from ragdist.metrics.classifier import ClassifierFeatures, classifier
from ragdist.metrics.dataset import Batch, DataSet
from ragdist.metrics.features import Extractor, Laplacian, Pixels
from ragdist.metrics.options import METRICS, EvaluateOptions
from ragdist.metrics.side import Side
from ragdist.progress import Progress

FORMAT, VERSION = "ragdist-evaluation", 1
_NEIGHBOURLY = ("precision_recall", "density_coverage", "memorization")
_IMAGE_BYTES = 512 << 20  # most that kept images take


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


def evaluate(
    judged: Judged,
    data: DataSet,
    options: EvaluateOptions,
    *,
    held_out: DataSet | None = None,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = print,
) -> Evaluation:
    """Judge samples by the data.

    Args:
        judged: the samples.
        data: what they should be distributed as.
        options: as of the command.
        held_out: more data of that kind, which the generator has not seen.
        device: of the features' networks.
        say: told what takes long.

    Raises:
        UserError: there are too few samples or reals for a measure, or a measure does not suit the features.
    """
    device = torch.device(device)
    cache = Path(options.cache).expanduser()
    kind, names = choose(options, data)
    count, reals = judged.available(options.samples), min(options.reals or len(data), len(data))
    check_counts(names, count, reals, options.neighbours)
    _check_alike(data, held_out)
    start = time.perf_counter()
    extractor = make_extractor(kind, data, options, device, cache, say)
    namer = None
    if "classes" in names:
        namer = extractor if kind == "classifier" else _classifier(data, cache, device, say)
    fakes, images, fake_classes = _samples(judged, count, extractor, namer, options.batch, device)
    real = Reals(data, extractor, options.reals, cache)
    real_side = real.side(options.batch, device, lambda total: _progress(total, "real images"))
    material = Material(
        features=extractor.title,
        fakes=fakes,
        reals=real_side,
        neighbours=options.neighbours,
        spacing=lambda n: real.spacing(real_side, n),
        fake_images=images,
        real_images=_first_images(data, real.numbers) if {"swd", "ms_ssim"} & set(names) else images[:0],
    )
    if namer:
        material.class_names, material.class_features = data.index.classes, namer.title
        material.fake_classes = fake_classes
        material.real_counts = classes.class_counts(data.labels, len(data.index.classes))
        if judged.labelled:
            material.asked_classes = fakes.labels
    if held_out and "memorization" in names:
        held = Reals(held_out, extractor, options.neighbours, cache)
        material.held_out = held.side(options.batch, device, lambda total: _progress(total, "held-out images"))
    gathered = time.perf_counter() - start
    result = measure(material, names)
    result.seconds = {"gathering": round(gathered, 3), **result.seconds}
    if data.bad:
        result.notes.append(f"{data.bad:,} reals cannot be read and were left out: `python -m ragdist.shards check`")
    protocol = {
        "samples": fakes.count,
        "reals": real_side.count,
        "of_reals": len(data),
        "neighbours": min(len(fakes.features), len(real_side.features), options.neighbours),
        "data": {"where": data.where, "digest": data.index.digest, "shape": list(data.index.shape),
                 "split": "all" if reals == len(data) else f"{reals:,} drawn by the data's digest"},
        "held_out": held_out and {"where": held_out.where, "digest": held_out.index.digest, "samples": len(held_out)},
        "features": {"name": extractor.name, "sha256": extractor.sha256, "dim": extractor.dim,
                     "resizing": extractor.resizing, **extractor.about},
        "classifier": namer and {"sha256": namer.sha256, **namer.about},
        "quantization": "8 bits a channel",
        "flips": "none",
        "seed": options.seed,
        "reals_cached": real.cached,
    }  # fmt: skip
    return Evaluation(judged.about, protocol, result, data, real.numbers, judged.seen)


def choose(options: EvaluateOptions, data: DataSet) -> tuple[str, list[str]]:
    """The features, and the measures that suit them and the data.

    Raises:
        UserError: an unknown measure, or one that was asked for and does not suit.
    """
    labelled = len(data.index.classes) >= 2
    kind = options.features
    if kind == "auto":
        kind = "inception" if options.inception_weights else "classifier" if labelled else "pixels"
    if options.metrics == "all":
        unsuitable = {"classes"} if kind != "classifier" else set()
        unsuitable |= {"inception_score"} if kind != "inception" else set()
        return kind, [name for name in METRICS if name not in unsuitable]
    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            raise UserError(f"--metrics {name}: there is no such measure; there are: {', '.join(METRICS)}")
    if not names:
        raise UserError(f"--metrics names none; there are: {', '.join(METRICS)}")
    if "inception_score" in names and kind != "inception":
        raise UserError(f"--metrics inception_score needs --features inception, not {kind}")
    return kind, [name for name in METRICS if name in names]


def check_counts(names: list[str], samples: int, reals: int, neighbours: int) -> None:
    """Raises UserError where a measure needs more samples or reals than there are or may be taken."""
    for name in names:
        needed = METRICS[name][0]
        counts = {"samples": samples, "reals": reals}
        if name in _NEIGHBOURLY:
            counts["--neighbours"] = neighbours
        for what, count in counts.items():
            if count < needed:
                raise UserError(f"{count:,} {what} are too few for the measure {name}, which needs {needed:,}")


def make_extractor(
    kind: str, data: DataSet, options: EvaluateOptions, device: torch.device, cache: Path, say: Callable[[str], None]
) -> Extractor:
    """The features of this name.

    Raises:
        UserError: they cannot be had.
    """
    if kind == "inception":
        from ragdist.metrics.inception import Inception

        return Inception(options.inception_weights, device)
    if kind == "classifier":
        return _classifier(data, cache, device, say)
    return {"pixels": Pixels, "laplacian": Laplacian}[kind](data.index.shape)


def _classifier(data: DataSet, cache: Path, device: torch.device, say: Callable[[str], None]) -> ClassifierFeatures:
    def begin(total: int) -> Callable[[int], None]:
        say(f"training a classifier of {data.where} for its features, once")
        return _progress(total, "images")

    return classifier(data, cache / "evaluation", device=device, begin=begin)


def _samples(
    judged: Judged, count: int, extractor: Extractor, namer: ClassifierFeatures | None, batch: int, device: torch.device
) -> tuple[Side, Tensor, Tensor | None]:
    """The fakes' side, the first images [n, C, H, W], and each sample's class by the classifier."""
    kept: list[Tensor] = []
    named: list[Tensor] = []
    few = 0

    def passing():
        nonlocal few
        for part in judged.batches(range(count), batch):
            most = min(PICTURED, _IMAGE_BYTES // part.images[0].numel())
            if few < most:
                kept.append(part.images[: most - few].cpu())
                few += len(kept[-1])
            if namer and namer is not extractor:
                with torch.no_grad():
                    named.append(namer(part.images.to(device))[1].argmax(1).cpu())
            yield Batch(part.places, part.images, part.labels)

    found = side.collect(passing(), extractor, keep=KEPT, device=device, advance=_progress(count, "samples"))
    if namer is extractor and found.logits is not None:
        return found, torch.cat(kept), found.logits.argmax(1)
    return found, torch.cat(kept), torch.cat(named)[:KEPT] if named else None


def _first_images(data: DataSet, numbers) -> Tensor:
    most = min(PICTURED, _IMAGE_BYTES // math.prod(data.index.shape))
    images, there = data.images(numbers[:most])
    return images[there]


def _progress(total: int, unit: str) -> Callable[[int], None]:
    progress = Progress(total, unit=unit, first=False)

    def advance(count: int) -> None:
        progress.advance(count)
        if progress.done < total or time.perf_counter() - progress.began > 30:  # what is quick needs no line
            progress.describe()
        if progress.done >= total:
            progress.close()

    return advance


def _check_alike(data: DataSet, held_out: DataSet | None) -> None:
    if held_out is None:
        return
    if held_out.index.digest == data.index.digest:
        raise UserError(
            f"--held_out {held_out.where} is the training data itself: give data that it was not trained on"
        )
    if held_out.index.shape != data.index.shape:
        raise UserError(
            f"--held_out {held_out.where} holds samples of shape {list(held_out.index.shape)}, and the training data "
            f"{list(data.index.shape)}"
        )
