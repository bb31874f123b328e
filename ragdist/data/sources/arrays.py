"""NumPy arrays of samples: a .npy file, or a .npz file with ``images`` (or ``samples``) and perhaps ``labels``.

Of a .npz whose arrays have other names, and none nearly these, the only one that holds no labels is taken.
"""

import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.labels import numbered
from ragdist.data.sources.archive import stamp
from ragdist.data.sources.columns import LABELS
from ragdist.data.sources.source import Numbered, Remarks, Source
from ragdist.data.sources.tables import joined
from ragdist.modalities.base import Form, Making
from ragdist.tools.errors import UserError, nearest

_MEMBERS = ("images", "samples")  # of a .npz
_LABELS = ("labels", *LABELS)
_CORRUPT = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error)


class ArrayReader:
    """Reads items by their number in a mapped .npy file that the modality's `check_array` let pass."""

    def __init__(self, path: Path, modality: str):
        self.path, self.modality, self._rows = path, modality, None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.modality)

    def __call__(self, place: int):
        if self._rows is None:
            self._rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return modalities.making(self.modality).from_array(self._rows[place])


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open the samples of a .npy or .npz file. Pickled objects in it are refused unread."""
    path = Path(name).absolute()
    values, remarks, member = None, Remarks(), ""
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                member = _member(name, arrays.files)
                label = next((name for name in _LABELS if name in arrays.files), "")
                values = arrays[label] if label else None
                if left := [name for name in arrays.files if name not in (member, label)]:
                    remarks.say(f"{name}: labels are {label or 'not there'}; not used: {joined(left)}")
            file = _unpack(path, member, scratch)
        else:
            file = path
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except _CORRUPT as error:
        raise UserError(f"{name} cannot be read as NumPy arrays without pickled objects ({error})") from error
    modality = options.modality or _modality(name, rows, images=member == "images")
    source = of_array(name, rows, file, stamp(path), values, modality=modality)
    if not options.modality and _guessed(modalities.making(modality)) == "alone":
        remarks.say(f"{name} is taken for {modalities.making(modality).in_words(Form(rows.shape[1:]))}")
    return replace(source, remarks=remarks.lines())


def _member(name: str, members: Sequence[str]) -> str:
    """The member of a .npz that holds the samples."""
    if found := next((member for member in _MEMBERS if member in members), None):
        return found
    others = [member for member in members if member not in _LABELS]
    if len(others) != 1 or nearest("images", others):
        raise UserError(f"{name} holds no array 'images' or 'samples'{nearest('images', members)}")
    return others[0]


def of_array(
    name: str,
    rows: np.ndarray,
    file: Path,
    identity: str,
    values: Sequence[int] | np.ndarray | None = None,
    classes: Sequence[str] = (),
    *,
    modality: str,
) -> Source:
    """The source of an array that lies in the .npy ``file``.

    Raises:
        UserError: it holds no samples of the modality, or the labels do not fit.
    """
    if problem := _misfit(modality, rows):
        raise UserError(f"{name} {problem}")
    labels: list[int] = []
    if values is not None:
        values = np.asarray(values)
        if values.shape == (len(rows), 1):
            values = values[:, 0]
        if values.shape != (len(rows),) or values.dtype.kind not in "iuUb":
            one_hot = f", as labels.argmax(1) does of {values.shape[1]} columns" if values.ndim == 2 else ""
            raise UserError(
                f"{name}: labels are {values.dtype} {list(values.shape)}; give a whole number or a name for each of "
                f"the {len(rows):,} {modalities.making(modality).units}{one_hot}"
            )
        labels, classes = numbered(name, values.tolist(), classes, each="label {}".format)
    names = Numbered(len(rows), modalities.making(modality).unit)
    reader = ArrayReader(file, modality)
    return Source(names, range(len(rows)), reader, modality, identity, labels, classes if labels else ())


def _modality(where: str, rows: np.ndarray, *, images: bool) -> str:
    """The modality whose samples the array can hold. Raises UserError where there are several, or none of several.

    ``images``: the array's name says that it holds these.
    """
    every = modalities.all_making()
    asked_for = [name for name, making in every.items() if _guessed(making) is not True]
    problems = {name: _misfit(name, rows) for name in every if name not in asked_for}
    fits = [name for name in asked_for if not _misfit(name, rows) and not (images and _guessed(every[name]))]
    if all(problems.values()) and fits:
        likely = [name for name in fits if not _unlikely(every[name], rows)]
        if len(likely) == 1 and _guessed(every[likely[0]]):
            return likely[0]
        advice = " or ".join(f"--modality {name} if it holds {every[name].units}" for name in fits)
        why = "" if likely else "; " + _reasons(problems)
        raise UserError(f"{where} holds numbers {list(rows.shape)}, which may be anything: give {advice}{why}")
    if all(problems.values()) and not images:
        problems |= {name: _misfit(name, rows) for name in asked_for if _guessed(every[name])}
    if len(problems) > 1 and all(problems.values()):
        raise UserError(f"{where} holds no samples that are known here: {_reasons(problems)}")
    return modalities.most_likely(where, {name: not problem for name, problem in problems.items()})


def _guessed(making: Making) -> bool | str:
    return getattr(making, "guess_arrays", True)


def _unlikely(making: Making, rows: np.ndarray) -> bool:
    return hasattr(making, "unlikely_array") and making.unlikely_array(rows.shape)


def _reasons(problems: Mapping[str, str]) -> str:
    return "; ".join(f"for {modalities.making(name).units} it {problem}" for name, problem in problems.items())


def _misfit(modality: str, rows: np.ndarray) -> str:
    return modalities.making(modality).check_array(rows.shape, rows.dtype)


def _unpack(path: Path, member: str, scratch: Path) -> Path:
    """Unpack an array of a .npz to a file that can be mapped."""
    file = scratch / f"{member}-{stamp(path)}.npy"
    if not file.exists():
        part = file.with_suffix(".part")
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as packed, open(part, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        part.rename(file)
    return file
