"""Samples to evaluate: of a generator, or a folder of any generator's files."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ragdist import modalities
from ragdist.evaluation.reference_data import Batch
from ragdist.generation import sampling
from ragdist.generation.generator_file import Exported
from ragdist.modalities.base import Form, Making
from ragdist.networks.base import Generator
from ragdist.tools import noise
from ragdist.tools.errors import Diverged, UserError


class Samples(Protocol):
    """Numbered samples as they are stored; ``changes``, where there is one, counts those that were changed, by how."""

    about: dict[str, Any]  # for the protocol
    seen: int | None  # samples that the generator was trained on, where that is known
    labelled: bool  # whether each sample was asked for by a label

    def available(self, wanted: int) -> int:
        """The number of samples there are, at most ``wanted``."""

    def batches(self, numbers: range, batch: int) -> Iterator[Batch]:
        """Batches of the samples with these numbers, a worker's share."""


class GeneratorSamples:
    """Samples of a generator, as stored samples: rounded as `ragdist.generate` writes them.

    Args:
        exported: the generator and its description.
        path: where it was found, by path or URL.
        seed: of the latents.
        shares: samples of each class in the data, [classes]: labels are drawn like these. None: all classes in turn.
    """

    def __init__(self, exported: Exported, path: Path | str, seed: int, shares: np.ndarray | None):
        self.generator: Generator = exported.generator
        self.modality, self.form = modalities.training(exported.about["codec"]), exported.form
        self.seed, self.shares = seed, shares
        self.seen = exported.about["samples"]
        self.labelled = bool(self.generator.num_classes)
        labels = ("drawn as in the data" if shares is not None else "all classes in turn") if self.labelled else "none"
        self.about = {
            "kind": "generator", "path": str(path), "weights_sha256": exported.about["weights_sha256"],
            "seen": self.seen, "labels": labels, "seed": seed,
        }  # fmt: skip

    def available(self, wanted: int) -> int:
        return wanted

    def labels(self, first: int, count: int) -> Tensor | None:
        """Labels of samples first, ...: int64 [count]; None without classes."""
        if not self.labelled or self.shares is None:
            return sampling.labels_for(first, count, self.generator.num_classes)
        return sampling.labels_like(self.seed, first, count, self.shares)

    def batches(self, numbers: range, batch: int) -> Iterator[Batch]:
        first = numbers.start
        samples = sampling.sample(
            self.generator, self.seed, len(numbers), first=first, labels=self.labels, batch=batch
        )  # fmt: skip
        for made in samples:
            labels = self.labels(first, len(made))
            none = torch.full((len(made),), -1)
            places = torch.arange(first, first + len(made))
            yield Batch(places, self.stored(made), none if labels is None else labels)
            first += len(made)

    def stored(self, samples: Tensor) -> Tensor:
        """Samples as networks make them, stored [b, *shape].

        Raises:
            Diverged: a value is not finite.
        """
        if not samples.isfinite().all():
            raise Diverged("the generator's samples are not finite: its training diverged; judge an earlier checkpoint")
        return self.modality.from_network(samples, self.form)


class FolderSamples:
    """Files of a folder and its sub-folders, hidden ones excepted, or one file, in an order that the seed decides.

    A file may hold many samples (`Judging.several`), as a text does whose lines are samples.

    ``notes`` says that files which may have been made at several times are judged together. ``changes`` counts what
    was done to those that were read, to bring them to the data's form.

    Args:
        folder: of files that are samples, as PNG; or a file of many.
        modality: of the data that they are compared with, a name.
        form: of those data.
        seed: of the order, and of which are taken where there are more than wanted; None: by name, as files hold them.

    Raises:
        UserError: it holds no such files, or one that cannot be read.
    """

    seen, labelled = None, False

    def __init__(self, folder: Path, modality: str, form: Form, seed: int | None):
        self.making, self.modality = modalities.making(modality), modalities.training(modality)
        self.form = Form(form.shape, {**getattr(self.making, "decoding", {}), **form.spec})
        self.several = getattr(modalities.judging(modality), "several", {})
        self.brought = getattr(modalities.judging(modality), "brought", lambda file, form: (file, ()))
        self.changes: Counter[str] = Counter()
        files = _files(folder, self.making, self.several)
        items = [item for path in files for item in self._items(path)]  # files, or what they hold
        self.files = [item for item in items if item is not None]
        if not self.files:
            raise UserError(f"{folder} holds no {self.making.units}")
        if seed is not None:
            self.files = [self.files[i] for i in noise.permutation(seed, noise.REALS, 1, len(self.files))]
        names = hashlib.sha256()
        for path in files:
            names.update(
                f"{path.relative_to(folder) if path != folder else path.name} {path.stat().st_size}\n".encode()
            )
        self.about = {
            "kind": "folder", "path": str(folder), "files": len(files), "files_sha256": names.hexdigest(), "seed": seed,
        }  # fmt: skip
        if len(self.files) != len(files):
            self.about["held"] = len(self.files)
        self.notes = _mixture(files)
        if blank := len(items) - len(self.files):
            self.notes.append(
                f"blank lines, left out: {blank:,}; whether they are empty {self.making.units} of the generator, a "
                "file of a text a line does not tell"
            )

    def available(self, wanted: int) -> int:
        return min(wanted, len(self.files))

    def batches(self, numbers: range, batch: int) -> Iterator[Batch]:
        for first in range(numbers.start, numbers.stop, batch):
            places = range(first, min(first + batch, numbers.stop))
            samples = torch.stack([self._read(*self.files[i]) for i in places])
            yield Batch(torch.tensor(list(places)), samples, torch.full((len(places),), -1))

    def _items(self, path: Path) -> list[tuple[Path, bytes | None] | None]:
        """A file, or what it holds of samples, each as the content of a file; None for each blank line among them."""
        if not (split := self.several.get(path.suffix.lower())):
            return [(path, None)]
        try:
            found = split(path.read_bytes(), self.form)
            return [None if content is None else (path, content) for content in found]
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{path} holds no {self.making.units}: {error}") from error

    def _read(self, path: Path, content: bytes | None) -> Tensor:
        try:
            payload, changes = self.brought(path.read_bytes() if content is None else content, self.form)
            sample = self.modality.decode(torch.frombuffer(bytearray(payload), dtype=torch.uint8), self.form)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            wanted = f"bring the {self.making.units} to the data's form, {self.making.in_words(self.form)}"
            raise UserError(f"{path} cannot be compared with the data ({error}): {wanted}") from error
        self.changes.update(changes)
        return sample


def _files(folder: Path, making: Making, several: Iterable[str]) -> list[Path]:
    """The files of a folder that are samples, or hold them. Raises UserError where there are none."""
    if folder.is_file():
        return [folder]
    suffixes = list(dict.fromkeys([*(f".{extension}" for extension in making.payload), *several]))
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if files := sorted(path for path in found if not _hidden(path.relative_to(folder))):
        return files
    raise UserError(f"{folder} holds no run and no {making.units} ({', '.join(suffixes)})")


def _hidden(path: Path) -> bool:
    """Whether a file or one of its folders is hidden: half-written, or a system's own."""
    return any(part.startswith(".") for part in path.parts)


def _mixture(files: list[Path]) -> list[str]:
    kinds = Counter(path.suffix.lower() for path in files)
    folders = len({path.parent for path in files})
    if len(kinds) == folders == 1:
        return []
    counts = " and ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    return [f"judged as one: {counts} files in {folders:,} folder{'s' if folders > 1 else ''}"]
