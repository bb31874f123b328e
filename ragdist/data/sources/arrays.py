"""NumPy arrays of samples: a .npy file, or a .npz file with ``images`` (or ``samples``) and perhaps ``labels``."""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
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
    values, remarks = None, Remarks()
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                member = next((member for member in _MEMBERS if member in arrays.files), None)
                if member is None:
                    raise UserError(f"{name} holds no array 'images'{nearest('images', arrays.files)}")
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
    source = of_array(name, rows, file, stamp(path), values, modality=options.modality)
    return replace(source, remarks=remarks.lines())


def of_array(
    name: str,
    rows: np.ndarray,
    file: Path,
    identity: str,
    values: Sequence[int] | np.ndarray | None = None,
    classes: Sequence[str] = (),
    *,
    modality: str = "",
) -> Source:
    """The source of an array that lies in the .npy ``file``.

    Raises:
        UserError: it holds no samples of any modality, or the labels do not fit.
    """
    modality = modality or _modality(name, rows)
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


def _modality(where: str, rows: np.ndarray) -> str:
    """The modality whose samples the array can hold. Raises UserError where there are several, or none of several."""
    every = modalities.all_making()
    asked_for = [name for name, making in every.items() if not getattr(making, "guess_arrays", True)]
    problems = {name: _misfit(name, rows) for name in every if name not in asked_for}
    if all(problems.values()) and (fits := [name for name in asked_for if not _misfit(name, rows)]):
        units = " or ".join(modalities.making(name).units for name in fits)
        advice = f"give --modality {' or --modality '.join(fits)} if it holds {units}"
        raise UserError(f"{where} holds numbers {list(rows.shape)}, which may be anything: {advice}")
    if len(problems) > 1 and all(problems.values()):
        why = "; ".join(f"for {modalities.making(name).units} it {problem}" for name, problem in problems.items())
        raise UserError(f"{where} holds no samples that are known here: {why}")
    return modalities.most_likely(where, {name: not problem for name, problem in problems.items()})


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
