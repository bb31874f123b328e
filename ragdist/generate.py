"""``python -m ragdist.generate RUN``: samples of a trained generator, in one file, as single files, as an animation."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragdist import modalities
from ragdist.config import cli
from ragdist.config.option import check_limits, option
from ragdist.modalities.base import Interpolation, Judging
from ragdist.runs.local_copy import local_copy
from ragdist.storage.store import scheme
from ragdist.tools.errors import UserError, nearest, run_command

if TYPE_CHECKING:
    from torch import Tensor

    from ragdist.generation.generator_file import Exported

_SAMPLES = 64


@dataclass
class GenerateOptions:
    """Options of generating samples."""

    n: int | None = option(None, at_least=1)
    """number of samples; without it 64, of clips and texts with --interpolate 4 rows"""
    seed: int = option(0, at_least=0)
    """seed of the latents; sample i of a seed is always the same"""
    out: str = ""
    """one file of all samples (images: .png, .jpg or .webp; clips: .wav, one after the other; texts: .txt, a text a
    line, or .jsonl), a folder for single ones, or with --interpolate a .gif, of clips a .wav; empty: what suits the
    samples, as grid.png; texts are printed"""
    columns: int = option(0, at_least=0, says="0 (as square as possible) or more")
    """columns of the grid; 0: as square as possible"""
    points: int | None = option(None, at_least=1)
    """latents that each sample of an interpolation passes; without it 5 and back to the first, of clips and texts 2"""
    frames: int | None = option(None, at_least=1)
    """frames, clips or texts from one of them to the next; without it 20, of clips and texts 8"""
    device: str = "cpu"
    """cpu, cuda, ..."""
    plugin: str = ""
    """Python files, separated by commas, with networks or modalities of your own; empty: the run's"""


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog="python -m ragdist.generate", description="Draw samples of a trained generator.")
    parser.add_argument("run", help="a run's folder, or a generator.safetensors; or the URL of one")
    parser.add_argument("--interpolate", action="store_true", help="samples on their way between latents")
    parser.add_argument("--overwrite", action="store_true", help="replace the samples in the folder that --out names")
    parser.add_argument("--class", dest="chosen", metavar="K", help="draw this class only: its number or its name")
    parser.add_class_arguments(GenerateOptions, None, as_group=False)
    argv = cli.load_plugins(cli.arguments() if argv is None else argv)
    values = parser.parse_args(argv)
    options = cli.build(GenerateOptions, values)
    check_limits(options)
    with local_copy(values.run, "generator.safetensors", "config.yaml") as run:
        fetched = scheme(values.run) is not None
        draw(run, values.chosen, values.interpolate, options, overwrite=values.overwrite, fetched=fetched)


def draw(
    run: Path,
    chosen: str | None,
    animate: bool,
    options: GenerateOptions,
    *,
    overwrite: bool = False,
    fetched: bool = False,
) -> None:
    """Load the generator and write what was asked for.

    Args:
        run: a run's folder, or a generator's file.
        chosen: a class's number or name.
        animate: samples on their way between latents.
        options: the options of the command.
        overwrite: samples that a folder holds may be replaced.
        fetched: the run is a copy of somewhere else's.

    Raises:
        UserError: there is no generator, or it cannot be written.
    """
    from ragdist.config import identity, settings
    from ragdist.runs.folder import RunFolder
    from ragdist.storage.files import os_errors_as_user_error

    path = RunFolder(run).generator if run.is_dir() else run
    if not run.exists():
        raise UserError(f"no run and no file at {run}")
    if run.is_dir() and not path.is_file():
        raise UserError(f"{run} holds no {path.name}: it appears with the run's first checkpoint")
    if not fetched:  # what was fetched may name no code of this machine
        settings.load_plugins_of(RunFolder(run if run.is_dir() else run.parent).config)

    from ragdist.distributed.world import pick_device
    from ragdist.generation import generator_file

    about = generator_file.about(path)  # a path that cannot be written to is refused before PyTorch has to work
    judging = modalities.judging(about["codec"]) if about.get("codec") in modalities.MODALITIES else None
    printed = bool(judging) and not (options.out or judging.out)
    out = Path(options.out or (judging.out if judging else "samples"))
    if not printed:
        _check_out(out, judging, animate, overwrite=overwrite)
    exported = generator_file.load(path, pick_device(options.device, deterministic=True))
    for note in identity.changed(exported.about):
        print(f"note: {note}", file=sys.stderr if printed else None)
    label = class_number(chosen, exported.about["classes"], exported.generator.num_classes)
    if printed:
        print(_shown(exported, label, animate, options))
        return
    with os_errors_as_user_error(f"cannot write {out}"):
        what = _write(exported, label, out, animate, options, overwrite=overwrite)
    units = modalities.making(exported.about["codec"]).units
    print(f"{out}: {what} of the generator after {exported.about['samples']:,} {units}")


def _check_out(out: Path, judging: Judging | None, animate: bool, *, overwrite: bool) -> None:
    """Raises UserError where samples cannot be written to a path."""
    from ragdist.generation import whole_folder

    if animate and not out.name.strip("."):
        raise UserError(f"--out {out}: it is a folder, and samples between latents go into one file: name one in it")
    if judging and (problem := judging.check_out(out, animate)):
        raise UserError(f"--out {out}: {problem}")
    if out.suffix and out.is_dir():
        raise UserError(f"--out {out}: it is a folder, and a name with an ending is a file's: choose another name")
    if not out.suffix:
        whole_folder.check(out, overwrite=overwrite)


def _shown(exported: "Exported", label: int | None, animate: bool, options: GenerateOptions) -> str:
    """Samples as lines of text, of an interpolation row by row with empty lines between."""
    import torch

    judging, form = modalities.judging(exported.about["codec"]), exported.form
    if animate:
        rows = torch.stack(list(_between(exported, label, options)), 1)
        return "\n\n".join(judging.show(row, form) for row in rows)
    return "\n".join(judging.show(batch, form) for batch in _drawn(exported, label, options))


def _drawn(exported: "Exported", label: int | None, options: GenerateOptions) -> "Iterator[Tensor]":
    """Batches of samples, stored."""
    from ragdist.generation import sampling

    modality, count = modalities.training(exported.about["codec"]), options.n or _SAMPLES
    for batch in sampling.sample(exported.generator, options.seed, count, chosen=label):
        yield modality.from_network(batch, exported.form)


def _between(exported: "Exported", label: int | None, options: GenerateOptions) -> "Iterator[Tensor]":
    """Frames of samples on their way between latents, stored."""
    from ragdist.generation import sampling

    codec = exported.about["codec"]
    modality, usual = modalities.training(codec), getattr(modalities.judging(codec), "interpolation", Interpolation())
    numbers = options.n or usual.samples, options.points or usual.points, options.frames or usual.frames
    steps = sampling.interpolate(exported.generator, options.seed, *numbers, chosen=label, closed=usual.closed)
    for step in steps:
        yield modality.from_network(step, exported.form)


def _write(
    exported: "Exported", label: int | None, out: Path, animate: bool, options: GenerateOptions, *, overwrite: bool
) -> str:
    """Write samples; what was written, in words."""
    import torch

    from ragdist.generation.whole_folder import whole_folder

    judging, form, columns = modalities.judging(exported.about["codec"]), exported.form, options.columns or None
    if out.suffix:
        out.parent.mkdir(parents=True, exist_ok=True)
    if animate:
        return judging.animate(list(_between(exported, label, options)), form, out, columns)
    stored = _drawn(exported, label, options)
    if out.suffix:
        return judging.write(torch.cat(list(stored)), form, out, columns)
    count = 0
    with whole_folder(out, overwrite=overwrite) as folder:
        for batch in stored:
            count += judging.write_each(batch, form, folder, count)
    return f"{count} {modalities.making(exported.about['codec']).units}"


def class_number(chosen: str | None, classes: list[str], conditioned: int) -> int | None:
    """Find the label of a class given by number or name.

    Raises:
        UserError: there is no such class, or the generator takes no labels.
    """
    if chosen is None:
        return None
    if not conditioned:
        raise UserError(f"--class {chosen}: this generator was trained without labels (--network.labels true)")
    if chosen in classes:
        return classes.index(chosen)
    if chosen.isdigit() and int(chosen) < conditioned:
        return int(chosen)
    raise UserError(f"--class {chosen}: there is no such class{nearest(chosen, classes)}")


if __name__ == "__main__":
    run_command(main)
