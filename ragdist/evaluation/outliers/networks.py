"""D and G of a run's newest checkpoint, for scores that need both."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ragdist import modalities
from ragdist.config import identity, settings
from ragdist.generation import generator_file
from ragdist.modalities.base import Form, Training
from ragdist.networks.base import Discriminator, Generator
from ragdist.networks.build import build_discriminator
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.runs.local_copy import local_copy
from ragdist.storage.store import Store, scheme
from ragdist.tools.errors import UserError


@dataclass
class Networks:
    """D and the EMA generator of one checkpoint, in evaluation mode and without gradients of their weights."""

    generator: Generator
    discriminator: Discriminator
    modality: Training
    form: Form  # of stored samples
    codec: str
    classes: tuple[str, ...]  # of the training data
    pool: int  # of the space of points, as the run's relative term has it
    data: str  # where the training data were
    cache: Path
    seen: int
    about: dict[str, Any]  # for the report


@contextmanager
def opened_run(where: str) -> Iterator[Path]:
    """A run's folder, on this machine; of a URL a copy of its newest checkpoint, which lasts as long as the context.

    Raises:
        UserError: it is no run, or none with a discriminator.
    """
    if where.rstrip("/").endswith(generator_file.SUFFIX):
        folder = shlex.quote(where.rstrip("/").rpartition("/")[0] or ".")
        raise UserError(
            f"{where} is an exported generator, and scores need the discriminator, too, which lies in a run's "
            f"checkpoints: give the run's folder, as `python -m ragdist.outliers {folder} DATA`"
        )
    if scheme(where) is None:
        with local_copy(where) as path:
            yield path
        return
    store = Store(where.rstrip("/"))
    with TemporaryDirectory(prefix="ragdist-") as scratch:
        print(f"fetching {where}", flush=True)
        names = store.list()
        manifests = [name.split("/")[1] for name in names if name.endswith("/manifest.json")]
        newest = max(filter(checkpoint.NAME.fullmatch, manifests), key=checkpoint.age, default="")
        for name in names:
            if name in (settings.CONFIG, "generator.safetensors") or (newest and f"/{newest}/" in name):
                (Path(scratch) / name).parent.mkdir(parents=True, exist_ok=True)
                store.fetch(name, store.stat(name)[0], Path(scratch) / name)
        try:
            yield Path(scratch)
        except UserError as error:  # which the copy's path would not help
            raise type(error)(str(error).replace(scratch, where.rstrip("/"))) from error


def load(path: Path, where: str, device: torch.device) -> Networks:
    """Load the networks of the newest whole checkpoint of a run.

    Args:
        path: the run's folder.
        where: what the user calls it.
        device: of the networks.

    Raises:
        UserError: there is no run, no checkpoint, or one of other networks than the generator beside it.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise UserError(f"no run at {path}" + (": give a run's folder" if path.exists() else ""))
    if not folder.config.is_file():
        raise UserError(f"{path} holds no run ({folder.config.name} is missing): give a run's folder")
    config = settings.read(folder.config)
    found, broken = checkpoint.load_newest(folder.checkpoints, device)
    for line in broken:
        print(f"note: skipped a broken checkpoint, {line}")
    if found is None:
        raise UserError(
            f"{path} holds no checkpoint, and scores need its discriminator: copy checkpoints/ as well, or go on with "
            "the training"
        )
    exported = generator_file.load(folder.generator, device)
    about = exported.about
    modality = modalities.training(about["codec"])
    classes = generator_file.num_classes(about["network"], about["classes"])
    shape = modality.network_shape(exported.form)
    discriminator = build_discriminator(about["network"], shape, classes, head=modality.head).to(device)
    try:
        exported.generator.load_state_dict(found.state["ema"])
        discriminator.load_state_dict(found.state["discriminator"])
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{found.path} does not fit {folder.generator} ({reason}): copy both of one run") from error
    for note in identity.changed(about):
        print(f"note: {note}")
    weights = generator_file.weights_sha256(found.state["discriminator"])
    return Networks(
        exported.generator, discriminator.eval().requires_grad_(False), modality, exported.form, about["codec"],
        tuple(about["classes"]), config["objective.pool"], config["data.path"],
        Path(config["data.cache"]).expanduser(), found.meta["samples"],
        {"run": where, "checkpoint": found.path.name, "seen": found.meta["samples"], "data": found.meta["data"],
         "weights_sha256": generator_file.weights_sha256(found.state["ema"]), "discriminator_sha256": weights},
    )  # fmt: skip
