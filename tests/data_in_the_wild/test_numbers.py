"""Arrays of numbers as people save them: .npy and .npz files of trajectories, tables and vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import tar_of

NUMBERS = ("--modality=array",)


def npz(**arrays) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return make


def npy(array) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "a.npy", array, allow_pickle=True)
        return folder / "a.npy"

    return make


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a.csv").write_bytes(content.encode(encoding))
        return folder / "a.csv"

    return make


def files(**arrays: np.ndarray | bytes) -> Callable[[Path], Path]:
    """Writes a folder of .npy files, in sub-folders where a name has two underscores."""

    def make(folder: Path) -> Path:
        for name, array in arrays.items():
            path = folder / f"{name.replace('__', '/')}.npy"
            path.parent.mkdir(exist_ok=True)
            if isinstance(array, bytes):
                path.write_bytes(array)
            else:
                np.save(path, array)
        return folder

    return make


def shard(*rows: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        files = []
        for number, row in enumerate(rows):
            np.save(folder / "row.npy", row, allow_pickle=True)
            files.append((f"{number:04d}.npy", (folder / "row.npy").read_bytes()))
        (folder / "row.npy").unlink()
        (folder / "a.tar").write_bytes(tar_of(files))
        return folder / "a.tar"

    return make


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def holed(value: float) -> np.ndarray:
    rows = normal(5, 2, 8)
    rows[3, 1, 4] = value
    return rows


CASES = [
    # What can be nothing else.
    Case("tracks, called so", npz(tracks=normal(4, 2, 64)), {None: 4}, shape=(2, 64),
         says=["is taken for 2 channels of 64 steps", "rounded to float32: 4 of 4", "--config paths --data"]),
    Case("one channel", npy(normal(4, 1, 64)), {None: 4}, shape=(1, 64), says=["is taken for 1 channel of 64 steps"]),
    Case("vectors", npz(x=normal(6, 7), y=np.arange(6) % 2), {"0": 3, "1": 3}, shape=(7,),
         says=["is taken for vectors of 7 numbers", "--network.family mlp"]),
    Case("a table of whole numbers", npz(data=np.arange(40).reshape(8, 5)), {None: 8}, shape=(5,),
         never=["rounded"]),
    Case("steps that are whole numbers", npy(np.arange(48, dtype=np.int32).reshape(3, 2, 8)), {None: 3}, shape=(2, 8)),
    Case("a name that leads elsewhere", npz(**{"../../tracks": normal(3, 2, 8)}), {None: 3}, shape=(2, 8)),
    Case("names of classes", npz(samples=normal(3, 2, 8), labels=np.array(["a", "b", "a"])), {"a": 2, "b": 1}),
    Case("big-endian, in columns", npy(np.asfortranarray(normal(4, 2, 8).astype(">f4"))), {None: 4}, never=["rounded"]),
    Case("true and false", npy(normal(4, 9) > 0), {None: 4}, shape=(9,)),
    Case("whole numbers beyond float32", npy(np.full((3, 4), 2**24 + 1)), {None: 3}, says=["rounded to float32: 3 of 3"]),
    # What might be something else.
    Case("numbers that may be pictures", npy(normal(3, 28, 28)), refused="may be anything: give --modality array if it holds arrays"),
    Case("pictures of floats, called so", npz(images=normal(3, 28, 28)), refused="float64 and not uint8", never=["array if"]),
    Case("numbers that may be stereo", npy(normal(3, 2, 4000)), refused="--modality audio if it holds clips or --modality array if"),
    Case("many channels, said so", npy(normal(3, 28, 28)), {None: 3}, shape=(28, 28), options=NUMBERS),
    Case("bytes, said to be numbers", npy(np.ones((3, 8, 8), np.uint8)), {None: 3}, shape=(8, 8), options=NUMBERS),
    # Tables.
    Case("a table with names", text("a,b,c\n1,2,3\n4.5,-1e3,0\n"), {None: 2}, shape=(3,), options=NUMBERS, never=["is taken"]),
    Case("a table without names, of Excel", text("\ufeff1;2\r\n3;4\r\n\r\n5;6"), {None: 3}, shape=(2,), options=NUMBERS),
    Case("a table with classes", text("x\tkind\ty\n1\tbig\t2\n3\tsmall\t4\n"), {"big": 1, "small": 1}, shape=(2,),
         options=(*NUMBERS, "--label_column=kind")),
    Case("a table with no such classes", text("x,kind\n1,2\n"), refused="no such column.*did you mean 'kind'",
         options=(*NUMBERS, "--label_column=kinds")),
    Case("a table whose first line is half of numbers", text("1,NA,3\n1.5,2,3\n4,5,6\n"), {None: 2}, options=NUMBERS,
         says=["its first line is taken for the columns' names, and no sample: '1', 'NA', '3'"]),
    Case("a table with numbered columns", text("0,1,2\n1.5,2,3\n4,5,6\n"), {None: 3}, options=NUMBERS,
         says=["its first line is taken for a sample: '0', '1', '2'; delete it"]),
    Case("a table with a column called label", text("a,Label\n1,0\n2,1\n"), {None: 2}, shape=(2,), options=NUMBERS,
         says=["the column 'Label' is taken for numbers like the others; --label_column Label"]),
    Case("a table with words", text("x,y\n1,2\n3,red\n"), refused="a.csv, line 3: 'red' is no number", options=NUMBERS),
    Case("a table with a gap", text("x,y\n1,\n3,4\n"), refused="array 0 .*not finite", options=NUMBERS),
    Case("a table with a short row", text("x,y\n1,2\n3\n"), refused="line 3: it has 1 numbers, and the first row 2", options=NUMBERS),
    Case("an empty table", text("x,y\n"), refused="holds no rows of numbers", options=NUMBERS),
    Case("a cell without an end", text("1,2\n" + "3" * 200_000), refused="is no table of numbers", options=NUMBERS),
    Case("no text", text("x", "utf-16"), refused="no text in UTF-8", options=NUMBERS),
    # Files of an array each.
    Case("a folder of arrays", files(a=normal(2, 8), b=np.asfortranarray(normal(2, 8)), c=normal(2, 8).astype(">f4")),
         {None: 3}, shape=(2, 8), says=["rounded to float32: 2 of 3"]),
    Case("arrays in class folders", files(walk__0=normal(2, 8), run__0=normal(2, 8), run__1=normal(2, 8)), {"run": 2, "walk": 1}),
    Case("vectors, a file each", files(a=normal(7), b=normal(7)), {None: 2}, shape=(7,), options=NUMBERS),
    Case("a folder with a file of another shape", files(a=normal(2, 8), b=normal(2, 9)), refused="arrays of different shapes"),
    Case("a folder with a file that is none", files(a=normal(2, 8), b=b"no"), refused="b.npy .*it is no .npy file"),
    Case("a folder with such files, left out", files(a=normal(2, 8), b=b"no", c=holed(np.nan)[3], d=np.array(["x"])), {None: 1},
         options=("--bad=skip",), says=["skipped 3 arrays"]),
    # Shards of others.
    Case("a shard of .npy files", shard(normal(2, 8), normal(2, 8), normal(2, 8)[::-1]), {None: 3}, shape=(2, 8), index=True,
         says=["rounded to float32: 3 of 3"]),
    Case("in columns", shard(np.asfortranarray(normal(2, 8).astype("f4"))), {None: 1}, index=True, never=["rounded"]),
    Case("a shard with another shape", shard(normal(2, 8), normal(8, 2)), refused="sample 0001 .* 8 channels of 2 steps, and the first sample, 0000 .*, 2 channels of 8 steps", index=True),
    Case("a shard with a hole", shard(normal(2, 8), holed(np.nan)[3]), refused="not finite", index=True),
    Case("a shard with a hole, left out", shard(normal(2, 8), holed(np.nan)[3]), {None: 1}, index=True, options=("--bad=skip",)),
    Case("a shard with pickled objects", shard(np.array([{}], object)), refused="holds object: arrays are", index=True),
    # What is bad.
    Case("a hole", npy(holed(np.nan)), refused=r"array 3 .*not finite \(NaN or infinity\)"),
    Case("a hole, left out", npy(holed(np.nan)), {None: 4}, options=("--bad=skip",), says=["skipped 1 arrays", "array 3"]),
    Case("infinity", npy(holed(-np.inf)), refused="array 3 .*not finite"),
    Case("more than float32 has", npy(holed(1e39)), refused="array 3 .*beyond 3.4e38"),
    Case("nothing but holes", npy(np.full((3, 2, 8), np.nan)), refused="not finite"),
    Case("pickled objects", npz(tracks=np.array([{}, {}], object)), refused="without pickled objects"),
    Case("paths among pickled objects", npy(np.array([[{}, normal(2, 3)]], object)), refused="without pickled objects"),
    Case("complex numbers", npy(normal(4, 2, 8) * 1j), refused="holds complex128: arrays are of floats or integers"),
    Case("complex numbers, said to be arrays", npy(normal(4, 9) * 1j), refused="holds complex128", options=NUMBERS),
    Case("strings", npy(np.full((4, 3), "x")), refused="holds <U1: arrays are of floats or integers"),
    Case("dates", npy(np.zeros((4, 3), "M8[s]")), refused=r"holds datetime64\[s\]"),
    Case("no rows", npy(np.zeros((0, 2, 8))), refused=r"has the shape \[0, 2, 8\]: arrays are \[N, channels, steps\]"),
    Case("no steps", npy(np.zeros((4, 2, 0))), refused=r"has the shape \[4, 2, 0\]"),
    Case("one number each", npy(normal(4)), refused=r"has the shape \[4\]: arrays are"),
    Case("one number", npy(np.float64(3)), refused=r"has the shape \[\]: arrays are"),
    Case("four axes", npy(normal(4, 2, 3, 4)), refused=r"has the shape \[4, 2, 3, 4\]", options=NUMBERS),
    Case("two arrays", npz(tracks=normal(4, 2, 8), other=normal(4, 2, 8)), refused="holds no array 'images' or 'samples'"),
    Case("no array", npz(), refused="holds no array 'images' or 'samples'"),
    Case("too few labels", npz(tracks=normal(4, 2, 8), labels=np.arange(3)), refused="for each of the 4 arrays"),
    Case("cut off", lambda folder: cut(npy(normal(4, 2, 8))(folder)), refused="cannot be read as NumPy arrays"),
]  # fmt: skip


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
