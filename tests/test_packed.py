"""Packed samples, many in a member: the same bytes however they are written, and one line for each mistake."""

import contextlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.config.shards import IndexOptions, ShardOptions
from ragdist.data import index as index_file
from ragdist.data import packed
from ragdist.data.indexing.index_shards import index_shards
from ragdist.data.writing.writer import Summary, write_shards
from ragdist.modalities.base import Form
from ragdist.tools import plugins
from ragdist.tools.errors import TooNew, UserError
from tests.conftest import begin, command, plugins_of_a_test
from tests.scan import scan
from tests.test_writer import HANGS, wait_for

pytestmark = pytest.mark.usefixtures("warm_processes")
FILE = Path(__file__).parent / "plugins/rows.py"
N, SHARD, MEMBER = 6_000, 900, 5000
SHARDS = "ragdist.shards"
OPTIONS = {"processes": 1, "modality": "rows", "plugin": str(FILE)}


@contextlib.contextmanager
def rows_loaded():
    """A context in which the plugin is loaded in this process as commands load it; gives its module."""
    with plugins_of_a_test():
        plugins.load([str(FILE)])
        import ragdist_plugins.rows as module

        yield module


@pytest.fixture(scope="module", autouse=True)
def rows():
    with rows_loaded() as module:
        yield module


def save_array(path: Path, bad: int = 0) -> Path:
    """Rows of even bytes below 200, each with a label; every ``bad``-th is none."""
    values = np.random.default_rng(0).integers(0, 100, (N, 8), dtype=np.uint8) * 2
    if bad:
        values[::bad, 0] = 255
    np.savez(path, samples=values, labels=np.arange(N) % 3)
    return path


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> Path:
    return save_array(tmp_path_factory.mktemp("array") / "a.npz")


def write(source: Path, out: Path, size: int = SHARD, **more) -> Summary:
    return write_shards(str(source), out, ShardOptions(**{"shard_samples": size} | OPTIONS | more))


@pytest.fixture(scope="module")
def data(array) -> Path:
    """Shards that one process wrote."""
    write(array, array.parent / "data")
    return array.parent / "data"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.sampled_from(["|u1", "<i2", "<f4"]), st.lists(st.integers(0, 2**20), min_size=1, max_size=4))
def test_the_headers_of_arrays_are_what_numpy_reads(kind, shape):
    header = packed.npy_header(np.dtype(kind), tuple(shape))
    file = io.BytesIO(header)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == (tuple(shape), False, np.dtype(kind))
    assert file.tell() == len(header)
    assert len(header) % 64 == 0


@pytest.mark.parametrize(("processes", "size"), [(1, N), (2, SHARD), (3, N)])
def test_any_number_of_processes_writes_what_a_scan_finds(tmp_path, array, data, processes, size):
    """Whole shards, and one shard for all processes, in pieces of whole members."""
    write(array, tmp_path / "out", size, processes=processes)
    index = index_file.load(tmp_path / "out")
    for shard in index.shards:
        entry, table = scan(tmp_path / "out" / shard.name, "rows.npy")
        assert entry == shard
        np.testing.assert_array_equal(index_file.load_table(tmp_path / "out", shard), table)
    if size == SHARD:
        assert content(tmp_path / "out") == content(data)
        return
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        names = [f"{first:09d}.{kind}" for first in range(0, N, MEMBER) for kind in (packed.LABELS, packed.ROWS)]
        assert tar.getnames() == names
    if processes > 1:
        write(array, tmp_path / "one", size)
        assert content(tmp_path / "out") == content(tmp_path / "one")


def stored(folder: Path) -> list[tuple[bytes, int]]:
    """Rows and labels as webdataset's own decoder gives them, in order."""
    import webdataset

    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    found = []
    for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode():
        array, labels = sample[packed.ROWS], sample[packed.LABELS].tolist()
        found += zip(map(bytes, array), labels, strict=True)
    return found


def test_webdataset_reads_every_row_with_its_label(array, data):
    index = index_file.load(data)
    assert index.spec == {"alphabet": list(range(0, 200, 2))}
    assert [shard.samples for shard in index.shards] == [900] * 6 + [600]
    with np.load(array) as arrays:
        given = {(row // 2).tobytes(): label for row, label in zip(arrays["samples"], arrays["labels"], strict=True)}
    found = stored(data)
    assert len(found) == N
    assert dict(found) == given


def test_bad_rows_are_named_counted_and_left_out_on_request(tmp_path, array, data, rows):
    source = save_array(tmp_path / "b.npz", bad=40)
    with pytest.raises(UserError, match=r"^row \d+0 cannot be read as a row \(it is no row\): .* --bad skip$"):
        write(source, tmp_path / "out")
    rows.Making.passes.clear()
    summary = write(source, tmp_path / "out", bad="skip")
    assert rows.Making.passes == [N, N], "what is learned from passes over them, too"
    assert len(summary.skipped) == N // 40
    with np.load(source) as arrays:
        kept = sorted((row // 2).tobytes() for row in arrays["samples"] if row[0] != 255)
    assert sorted(row for row, _ in stored(tmp_path / "out")) == kept
    write(source, tmp_path / "one", N, bad="skip")
    write(source, tmp_path / "two", N, bad="skip", processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two"), "what is left out moves no member's beginning"
    with tarfile.open(tmp_path / "one/shard-000000.tar") as tar:
        assert tar.getnames()[1::2] == [f"{first:09d}.{packed.ROWS}" for first in range(0, N, MEMBER)]


def test_what_cannot_be_learned_from_is_named_or_left_out(tmp_path, rows):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.row").write_bytes(b"" if i == 2 else bytes([0, 2, 4, 6, 8, 10, 12, i]))
    (folder / "5.row").unlink()
    (folder / "5.row").symlink_to("/proc/self/mem")  # it can be opened, and not read
    (folder / "6.row").write_bytes(bytes(3))
    for where, options in (("a", {}), ("b", {"processes": 2})):
        with pytest.raises(UserError, match=r"^2.row cannot be read as a row \(it is empty\): "):
            write(folder, tmp_path / where, **options)
    assert not list(tmp_path.glob(".*"))
    rows.Making.passes.clear()
    summary = write(folder, tmp_path / "out", bad="skip")
    assert rows.Making.passes[-2:] == [5, 5]
    assert [line.partition(":")[0] for line in sorted(summary.skipped)] == ["2.row", "5.row", "6.row"]
    assert summary.index.spec["alphabet"] == [0, 1, 2, 3, 4, 6, 8, 10, 12]
    for file in folder.glob("*.row"):
        file.unlink()
        file.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"^nothing can be learned from the rows: there are no bytes$"):
        write(folder, tmp_path / "none", bad="skip")


def test_the_same_command_continues_after_a_kill_while_it_learns_the_same(tmp_path, array, data, monkeypatch):
    monkeypatch.setenv("ROWS_PAUSE", "0.0005")
    argv = [array, "out", f"--shard_samples={SHARD}", "--processes=2", "--modality=rows", f"--plugin={FILE}"]
    process = begin(SHARDS, *argv, cwd=tmp_path)
    records = tmp_path / ".out.part/records"
    wait_for(lambda: len(list(records.glob("*.json"))) >= 2, process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=HANGS)
    assert not psutil.wait_procs(children, timeout=HANGS)[1]
    monkeypatch.delenv("ROWS_PAUSE")
    shutil.copytree(tmp_path / ".out.part", tmp_path / ".other.part")
    result = command(SHARDS, *argv, cwd=tmp_path)
    assert "of 7 shards are finished" in result.stdout, result.stderr
    assert content(tmp_path / "out") == content(data)
    monkeypatch.setenv("ROWS_BACKWARDS", "1")
    result = command(SHARDS, array, "other", *argv[2:], cwd=tmp_path)
    assert "starting anew" in result.stdout, result.stderr
    spec = json.loads((tmp_path / "other/index.json").read_text())["spec"]
    assert spec == {"alphabet": list(range(198, -1, -2))}, "no shard of the other alphabet is among them"


def test_members_of_large_samples_are_smaller():
    assert packed.samples_of_a_member(np.dtype("<f4"), Form((2, 64))) == 5000
    assert packed.samples_of_a_member(np.dtype("<f4"), Form((2, 2**16))) == 128
    assert packed.samples_of_a_member(np.dtype("<f4"), Form((2, 2**26))) == 1


def test_shards_without_their_index_and_an_index_without_its_modality_are_refused(tmp_path, data):
    shutil.copytree(data, tmp_path / "data")
    options = IndexOptions(processes=1)
    with pytest.raises(UserError, match=r"index.json is there already"):
        index_shards([str(tmp_path / "data")], options)
    (tmp_path / "data/index.json").unlink()
    for payload in ("", "rows.npy"):
        with pytest.raises(UserError, match=r"shard-000000.tar holds packed samples, many in a member .*: copy that"):
            index_shards([str(tmp_path / "data")], IndexOptions(processes=1, payload=payload))
    assert not (tmp_path / "data/.indexing").exists()
    text = (data / "index.json").read_text()
    with plugins_of_a_test():
        from ragdist.modalities import MODALITIES

        MODALITIES._rows.pop("rows")
        MODALITIES._found.pop("rows", None)
        with pytest.raises(TooNew, match=r"holds samples of the modality 'rows', which is not here"):
            index_file.loads(text, "index.json")
