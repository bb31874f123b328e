"""Files of arrays: .npz and .csv of many, .npy of one."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ragdist.modalities.array import foreign
from ragdist.modalities.base import Form
from ragdist.storage.files import write_whole


def save_npz(samples: np.ndarray, out: Path) -> None:
    """Write samples as the array ``samples`` of a .npz file, of which shards can be made again."""
    data = io.BytesIO()
    np.savez_compressed(data, samples=samples)
    write_whole(out, data.getvalue())


def save_npy(sample: np.ndarray, out: Path) -> None:
    """Write one array as a .npy file."""
    write_whole(out, _npy(sample))


def save_csv(samples: np.ndarray, out: Path) -> None:
    """Write a table: of vectors a row each, of sequences one a step, with the sample's number and the step's.

    Numbers have as many digits as tell them from any other float32.
    """
    lines = []
    if samples.ndim == 2:
        lines.append(",".join(f"x{i}" for i in range(samples.shape[1])))
        lines += [",".join(map(str, row)) for row in samples]
    else:
        lines.append(",".join(["sample", "step", *(f"x{i}" for i in range(samples.shape[1]))]))
        for number, sample in enumerate(samples):
            lines += [",".join([str(number), str(step), *map(str, row)]) for step, row in enumerate(sample.T)]
    write_whole(out, "\n".join([*lines, ""]).encode())


def rows_of(file: bytes, form: Form) -> list[bytes]:
    """The arrays of a .npz file, as `save_npz` writes it, or of one whose only array they are: each as a .npy file.

    Raises:
        ValueError: it is none, or holds several arrays and none called ``samples``.
    """
    if not zipfile.is_zipfile(io.BytesIO(file)):
        raise ValueError("it is no .npz file, or damaged")
    try:
        with np.load(io.BytesIO(file), allow_pickle=False) as arrays:
            names = arrays.files
            if "samples" not in names and len(names) != 1:
                raise ValueError(f"it holds no array 'samples' but {', '.join(names) or 'nothing'}")
            samples = np.asarray(arrays["samples" if "samples" in names else names[0]])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError("it is no .npz file, or damaged") from error
    if not samples.ndim:
        raise ValueError("it holds one number")
    return [_npy(sample) for sample in samples]


def _npy(sample: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, sample)
    return data.getvalue()


def row_of(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    """The numbers of a .npy file as a payload of this form; and what was done to them.

    Raises:
        ValueError: it is none, or one of another shape, or of what are no numbers.
    """
    array = foreign.content(file)
    notes = []
    if array.shape != form.shape and array.ndim == 2 and array.T.shape == form.shape:
        array = array.T
        notes.append("transposed to [channels, steps]")
    if array.shape != form.shape:
        raise ValueError(f"it has the shape {list(array.shape)}, not {list(form.shape)}")
    numbers = foreign.finite(array)
    if not form.spec.get("payload"):
        return numbers.tobytes(), tuple(notes)
    return _npy(numbers), tuple(notes)
