"""The source of a transfer: the run, or generator file, whose weights a new run starts from, wherever it lies.

What is read has a digest, which is part of the new run's identity. The run's own checkpoints have all that it needs:
once there is one its source is not read any more.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ragdist import modalities
from ragdist.distributed import agreement
from ragdist.distributed.world import World
from ragdist.generation import generator_file
from ragdist.modalities.base import Form
from ragdist.networks.base import Discriminator, Generator
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.runs.local_copy import local_copy
from ragdist.storage.store import Store, scheme
from ragdist.tools.errors import UserError
from ragdist.training import transfer

if TYPE_CHECKING:
    from ragdist.training.state import TrainingState

_CPU = torch.device("cpu")
_OF_A_CHECKPOINT = ("state.pt", "meta.json", "manifest.json")
State = dict[str, Tensor]
Found = dict[str, tuple[transfer.Match, transfer.Layout, transfer.Layout]]  # of each network, with both layouts


@dataclass(frozen=True)
class Source:
    """Weights to start from, by network, and what they are of."""

    where: str
    weights: dict[str, State]  # of "generator", "ema" and "discriminator"; of a generator file without D "ema" alone
    samples: int  # seen
    about: dict[str, Any]  # as of a generator file
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights: 64 hexadecimal digits."""
        named = {f"{network}.{name}": value for network, state in self.weights.items() for name, value in state.items()}
        return generator_file.weights_sha256(named)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample as networks see it."""
        form = Form(tuple(self.about["sample_shape"]), self.about["spec"])
        return modalities.training(self.about["codec"]).network_shape(form)


def read(where: str) -> Source:
    """Read the newest whole checkpoint of a run, or a generator file.

    Args:
        where: a path or URL. A run without checkpoints, or behind a server that lists none, is its generator file.

    Raises:
        UserError: there is nothing, or it is damaged.
    """
    try:
        with _on_disk(where) as path:
            if not path.exists():
                raise UserError(f"no run and no file at {where}")
            folder = RunFolder(path)
            found, broken = checkpoint.newest_whole(folder.checkpoints, _CPU) if path.is_dir() else (None, [])
            file = folder.generator if path.is_dir() else path
            if not file.is_file():
                raise UserError(f"{where} holds no {file.name}, which a run has with its first checkpoint: name a run")
            if file.suffix.lower() != generator_file.SUFFIX:
                raise UserError(f"{where} is no run's folder, and no generator file ({generator_file.SUFFIX})")
            exported = generator_file.load(file, _CPU)
    except UserError as error:
        raise type(error)(f"--init_from: {error}") from error
    about, notes = exported.about, tuple(f"skipped a broken checkpoint, {line}" for line in broken)
    if found:
        weights = {name: found.state[name] for name in ("generator", "ema", "discriminator")}
        return Source(where, weights, found.state["samples"], about, notes)
    weights = {"ema": exported.generator.state_dict()}
    if exported.discriminator:
        weights["discriminator"] = exported.discriminator
    return Source(where, weights, about["samples"], about, notes)


@contextmanager
def _on_disk(where: str) -> Iterator[Path]:
    """A source on this machine, of a run at a URL the files that are read; a context."""
    names: tuple[str, ...] = ("generator.safetensors",)
    if scheme(where) is not None and not where.endswith(generator_file.SUFFIX):
        names = (*_newest(where), *names)
    with local_copy(where, *names) as path:
        yield path


def _newest(where: str) -> tuple[str, ...]:
    """The files of the newest checkpoint of a run at a URL; none where it has none, or its server lists no files."""
    try:
        listed = Store(where).list()
    except (UserError, FileNotFoundError):
        return ()
    parts = (name.split("/") for name in listed if name.endswith("/manifest.json"))
    steps = [step for folder, step, *_ in parts if folder == "checkpoints" and checkpoint.NAME.fullmatch(step)]
    newest = max(steps, key=checkpoint.age, default=None)
    return tuple(f"checkpoints/{newest}/{name}" for name in _OF_A_CHECKPOINT) if newest else ()


def start(state: "TrainingState", world: World) -> list[str]:
    """Start a run's networks from the source that its configuration names; all workers must call.

    Rank 0 alone reads it, so that all start from the same bits.

    Returns:
        Lines: the table of what was loaded, what is fresh and what was refused.

    Raises:
        UserError: on all workers: the source is not there, is another one than the run's, or does not fit.
    """
    packed = problem = None
    if world.rank == 0:
        try:
            content = io.BytesIO()
            torch.save(_begun(state), content)
            packed = content.getvalue()
        except UserError as error:
            problem = error
        except OSError as error:
            problem = UserError(f"--init_from {state.config.init_from}: {error}")
    agreement.raise_on_all(world, problem)
    begun = torch.load(io.BytesIO(world.broadcast(packed)), map_location=_CPU, weights_only=True)
    state.generator.load_state_dict(begun["generator"])
    state.ema.load_state_dict(begun["ema"])
    state.discriminator.load_state_dict(begun["discriminator"])
    return begun["lines"]


def _begun(state: "TrainingState") -> dict[str, Any]:
    """The networks' states that a run starts from, and the lines about them."""
    source = read(state.config.init_from)
    check_digest(source, state.config.init_sha256)
    _check_alike(source, state)
    weights, found = source.weights, _matched(source, state)
    hint = _widths(source, state, found) if state.config.init_map == "grow" else ""
    _check_found(source, state, found, hint)
    (of_g, _, _), (of_d, _, _) = found.values()
    of = "" if "generator" in weights else ", the average alone: G starts from it, too"
    units = modalities.making(source.about["codec"]).units
    head = f"starting from {source.where} after {source.samples:,} {units} (weights {source.sha256[:12]}{of})"
    return {
        "lines": [*source.notes, head, *transfer.table(found), *filter(None, [hint])],
        "generator": transfer.taken(state.generator.state_dict(), weights.get("generator", weights["ema"]), of_g),
        "ema": transfer.taken(state.ema.state_dict(), weights["ema"], of_g),
        "discriminator": transfer.taken(state.discriminator.state_dict(), weights.get("discriminator", {}), of_d),
    }


def _matched(source: Source, state: "TrainingState") -> Found:
    """The matches of G, and so of its average, and of D."""
    theirs = _networks(source)
    how = {
        "grow": state.config.init_map == "grow",
        "same_classes": list(source.about["classes"]) == list(state.index.classes),
    }
    found = {}
    for name, mine, other in zip(("G, EMA", "D"), (state.generator, state.discriminator), theirs, strict=True):
        here, there = transfer.layout(mine), transfer.layout(other)
        if name == "D" and "discriminator" not in source.weights:
            found[name] = (transfer.nothing(here), here, transfer.Layout({}))
        else:
            found[name] = (transfer.match(here, there, **how), here, there)
    return found


def _check_found(source: Source, state: "TrainingState", found: Found, hint: str) -> None:
    """Refuse a source of which nothing fits, and frozen stages that are fresh. Raises UserError."""
    (of_g, here, _), (of_d, _, _) = found.values()
    if not transfer.in_stages(of_g, here):
        why = next((f" ({one.kind}, as {one.example})" for one in of_g.refused.values() if one.example), "")
        raise UserError(
            f"--init_from {source.where}: nothing of its G fits{why}: {hint or 'give the --network options it has'}"
        )
    if fresh := sorted(state.frozen & of_d.fresh.keys()):
        has_d = "discriminator" in source.weights
        do = "give fewer, or a source like this run" if has_d else "give a run, or a file written with --export_d true"
        raise UserError(
            f"--freeze_d {state.config.freeze_d}: {fresh[0]} is not from {source.where} ({of_d.fresh[fresh[0]].kind}), "
            f"and what is fresh must be trained: {do}"
        )


def check_digest(source: Source, expected: str) -> None:
    """Refuse a source with other weights than the digest says. Raises UserError."""
    if source.sha256 != expected:
        raise UserError(
            f"--init_from {source.where}: its weights have the SHA-256 {source.sha256}, and this configuration says "
            f"{expected}: give the source with these, or leave --init_sha256 out"
        )


def _check_alike(source: Source, state: "TrainingState") -> None:
    """Refuse a source whose networks cannot have weights in common with the run's. Raises UserError."""
    config, index, about, where = state.config, state.index, source.about, f"--init_from {source.where}"
    if about["codec"] != index.codec:
        theirs, ours = modalities.making(about["codec"]).units, modalities.making(index.codec).units
        raise UserError(f"{where}: it makes {theirs}, and {config.data.path} holds {ours}: give a source of {ours}")
    if (family := about["network"]["family"]) != config.network.family:
        raise UserError(
            f"{where}: its networks are of the family {family}, and this run's of {config.network.family}: give "
            f"--network.family {family}"
        )
    ours, theirs = state.modality.network_shape(index.form), source.shape
    if len(ours) != len(theirs) or ours[0] != theirs[0]:
        raise UserError(
            f"{where}: it makes samples {list(theirs)}, of {theirs[0]} channels, and these data are {list(ours)}, of "
            f"{ours[0]}: give a source with as many"
        )
    if ours == theirs:
        return
    sizes = f"{where}: it makes samples {list(theirs)}, and these data are {list(ours)}"
    if config.init_map != "grow":
        raise UserError(f"{sizes}: give --init_map grow, which keeps what works at an equal size")
    if not state.generator.by_size():
        raise UserError(f"{sizes}, and the family {family} says of no stages by size: give a source of that size")


def _widths(source: Source, state: "TrainingState", found: Found) -> str:
    """Options by which a grown network has its source's widths at equal sizes; empty where it has them."""
    _, here, there = found["G, EMA"]
    theirs, ours, more = source.about["network"], state.config.network, len(here.stages) - len(there.stages)
    wanted = {name: theirs[name] >> more if more > 0 else theirs[name] << -more for name in ("g_width", "d_width")}
    changed = [f"--network.{name} {width}" for name, width in wanted.items() if 0 < width != getattr(ours, name)]
    return f"to keep the widths of {source.where} at equal sizes give {' '.join(changed)}" if changed else ""


def _networks(source: Source) -> tuple[Generator, Discriminator]:
    """Networks like those of the source, to know them by."""
    about = source.about
    network, classes = about["network"], generator_file.num_classes(about["network"], about["classes"])
    head = modalities.training(about["codec"]).head
    g = build_generator(network, source.shape, classes, head=head)
    return g, build_discriminator(network, source.shape, classes, head=head)
