"""``python -m ragdist.generate RUN``: samples of a trained generator, as a grid, as files, as an animation."""

from dataclasses import dataclass
from pathlib import Path

from ragdist.config import cli
from ragdist.config.option import check_limits, option
from ragdist.runs.local_copy import local_copy
from ragdist.tools.errors import UserError, nearest, run_command

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass
class GenerateOptions:
    """Options of generating samples."""

    n: int = option(64, at_least=1)
    """number of samples"""
    seed: int = option(0, at_least=0)
    """seed of the latents; sample i of a seed is always the same"""
    out: str = "grid.png"
    """a picture (.png, .jpg, .webp) of all samples, a folder for single images, or a .gif with --interpolate"""
    columns: int = option(0, at_least=0, says="0 (as square as possible) or more")
    """columns of the grid; 0: as square as possible"""
    points: int = option(5, at_least=1)
    """latents that each sample of an animation passes"""
    frames: int = option(20, at_least=1)
    """frames from one of them to the next"""
    device: str = "cpu"
    """cpu, cuda, ..."""


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog="python -m ragdist.generate", description="Draw samples of a trained generator.")
    parser.add_argument("run", help="a run's folder, or a generator.safetensors; or the URL of one")
    parser.add_argument("--interpolate", action="store_true", help="animate samples that travel between latents")
    parser.add_argument("--class", dest="chosen", metavar="K", help="draw this class only: its number or its name")
    parser.add_class_arguments(GenerateOptions, None, as_group=False)
    values = parser.parse_args(cli.arguments() if argv is None else argv)
    options = cli.build(GenerateOptions, values)
    check_limits(options)
    with local_copy(values.run, "generator.safetensors", "config.yaml") as run:
        draw(run, values.chosen, values.interpolate, options)


def draw(run: Path, chosen: str | None, animate: bool, options: GenerateOptions) -> None:
    """Load the generator and write what was asked for."""
    from ragdist.runs.folder import RunFolder
    from ragdist.storage.files import os_errors_as_user_error

    path = RunFolder(run).generator if run.is_dir() else run
    if not run.exists():
        raise UserError(f"no run and no file at {run}")
    if run.is_dir() and not path.is_file():
        raise UserError(f"{run} holds no {path.name}: it appears with the run's first checkpoint")
    out = Path(options.out)
    if animate and out.suffix.lower() != ".gif":
        raise UserError(f"--out {out}: an animation is a GIF; name it {out.with_suffix('.gif')}")
    if not animate and out.suffix and out.suffix.lower() not in PICTURES:
        raise UserError(f"--out {out}: end it in .png, .jpg or .webp, or name a folder")

    import torch  # after what can be refused without it: it takes seconds to import

    from ragdist.distributed.world import pick_device
    from ragdist.generation import generator_file, sampling
    from ragdist.modalities.image import preview

    generator, about = generator_file.load(path, pick_device(options.device, deterministic=True))
    if about["codec"] != "image":
        raise UserError(f"{path} makes samples of the kind '{about['codec']}', which cannot be drawn")
    label = class_number(chosen, about["classes"], generator.num_classes)
    with os_errors_as_user_error(f"cannot write {out}"):
        if animate:
            out.parent.mkdir(parents=True, exist_ok=True)
            steps = sampling.interpolate(
                generator, options.seed, options.n, options.points, options.frames, chosen=label
            )
            frames = [preview.grid(step, options.columns or None) for step in steps]
            preview.save_animation(frames, out, milliseconds=50)
            what = f"{len(frames)} frames of {options.n} samples"
        elif out.suffix:
            out.parent.mkdir(parents=True, exist_ok=True)
            samples = torch.cat(list(sampling.sample(generator, options.seed, options.n, chosen=label)))
            preview.save(preview.grid(samples, options.columns or None), out)
            what = f"{options.n} samples"
        else:
            out.mkdir(parents=True, exist_ok=True)
            count = 0
            for batch in sampling.sample(generator, options.seed, options.n, chosen=label):
                for tile in preview.tiles(batch):
                    tile.save(out / f"{count:06d}.png")
                    count += 1
            what = f"{count} images"
    print(f"{out}: {what} of the generator after {about['images']:,} images")


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
