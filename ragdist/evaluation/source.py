"""Opening of what a command evaluates: the samples and the reference data."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ragdist import modalities
from ragdist.config import identity, settings
from ragdist.config.evaluation import EvaluateOptions
from ragdist.data.index import INDEX
from ragdist.evaluation.data_samples import DataSamples
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.samples import FolderSamples, GeneratorSamples, Samples
from ragdist.generation import generator_file
from ragdist.generation.generator_file import Exported
from ragdist.metrics import classes
from ragdist.modalities.base import Form
from ragdist.runs.folder import RunFolder
from ragdist.storage.store import scheme
from ragdist.tools.errors import UserError


@dataclass
class Opened:
    """Samples and reference data of an evaluation."""

    samples: Samples
    data: DataSet
    held_out: DataSet | None
    run: RunFolder | None  # where it is one
    out: Path  # for the results, unless another folder is asked for
    notes: list[str] = field(default_factory=list)  # for the report


def open_source(source: Path, options: EvaluateOptions, device: torch.device, *, where: str = "") -> Opened:
    """Open a run, an exported generator, a data set, a folder of samples, or a file of many.

    Args:
        source: the path.
        options: the options of `ragdist.evaluate`.
        device: of the generator.
        where: what the user calls it, where that is a URL of which ``source`` is a copy.

    Raises:
        UserError: it is none of them, or the data cannot be had.
    """
    if not source.exists():
        raise UserError(f"no run, no file and no folder at {source}")
    remote = scheme(where) is not None
    shown = where.rstrip("/") if remote else str(source)
    run = RunFolder(source) if _is_run(source) else None
    cache, cache_gb, path = Path(options.cache).expanduser() / "fetched", 100.0, options.data
    home = run or RunFolder(source.parent)  # a file of a run, as best.safetensors, was trained on the run's data
    if home.config.is_file() and (run or source.is_file()):
        config = settings.read(home.config)
        if not remote:  # another machine's disks are no matter here
            cache, cache_gb = Path(config["data.cache"]).expanduser(), config["data.cache_gb"]
        path = path or config["data.path"]
    if not path:
        raise UserError(f"{shown} does not say what it should look like: give the data with --data WHERE")
    generator = run.generator if run else source if source.is_file() else None
    if run and not run.generator.is_file():
        raise UserError(f"{shown} holds no {run.generator.name}: it appears with the run's first checkpoint")
    data = None
    if generator and not run and generator.suffix.lower() != generator_file.SUFFIX:
        data = DataSet(path, cache, cache_gb)  # which say whether such files hold samples
        if generator.suffix.lower() in getattr(modalities.judging(data.index.codec), "several", {}):
            generator = None
    exported = generator_file.load(generator, device) if generator else None
    data = data or DataSet(path, cache, cache_gb)
    held_out = DataSet(options.held_out, cache, cache_gb) if options.held_out else None
    out = source if run and not remote else Path(f"{_name(source, remote)}-evaluation")
    if exported is None and (source / INDEX).is_file():
        other = DataSet(str(source), cache, cache_gb)
        _check_alike(f"{shown} holds", list(other.index.shape), other.index.codec, other.index.form, data)
        return Opened(DataSamples(other, data.index.classes), data, held_out, None, out)
    if exported is None:
        files = FolderSamples(source, data.index.codec, data.index.form, options.seed)
        return Opened(files, data, held_out, None, out, files.notes)
    about = exported.about
    _check_alike(f"{shown} makes", about["sample_shape"], about["codec"], exported.form, data)
    samples = _drawn(exported, data, f"{shown}/{generator.name}" if run else shown, options.seed)
    return Opened(samples, data, held_out, run, out, identity.changed(about))


def _check_alike(what: str, shape: list[int], codec: str, form: Form, data: DataSet) -> None:
    """Refuse samples of another form than the data's: raises UserError. ``what`` begins the line."""
    index = data.index
    if codec != index.codec or not modalities.alike(codec, form, index.form):
        raise UserError(
            f"{what} samples of shape {shape} ({codec}), and those of {data.where} have {list(index.shape)}: give the "
            "data that it was trained on, or like them"
        )


def _drawn(exported: Exported, data: DataSet, name: str, seed: int) -> GeneratorSamples:
    """Samples of a generator, with the data's shares of classes where it is conditioned on these."""
    shares, names = None, data.index.classes
    if exported.generator.num_classes and exported.about["classes"] == list(names):
        shares = classes.class_counts(data.labels, len(names)).numpy()
    return GeneratorSamples(exported, name, seed, shares)


def _name(source: Path, remote: bool) -> str:
    """The name of the folder for the results: every run in an object store has a generator.safetensors."""
    if source.is_dir():
        return source.name
    return f"{source.parent.name}-{source.stem}" if remote else source.name.removesuffix(generator_file.SUFFIX)


def _is_run(source: Path) -> bool:
    return source.is_dir() and (RunFolder(source).config.is_file() or RunFolder(source).generator.is_file())
