"""Packed samples, many in a member: the same bytes however they are written, the same rows however they are read."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data import packed
from ragdist.data.writing.writer import write_shards
from ragdist.tools import plugins
from tests.conftest import plugins_of_a_test

pytestmark = pytest.mark.usefixtures("warm_processes")
FILE = Path(__file__).parent / "plugins/rows.py"
N, SHARD, MEMBER = 6000, 900, 200


@pytest.fixture(scope="module", autouse=True)
def rows():
    """The plugin's module, loaded in this process as commands load it."""
    with plugins_of_a_test():
        plugins.load([str(FILE)])
        import ragdist_plugins.rows as module

        yield module


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> Path:
    """6,000 rows of bytes below 200, each with a label."""
    path = tmp_path_factory.mktemp("array") / "a.npz"
    values = np.random.default_rng(0).integers(0, 100, (N, 8), dtype=np.uint8) * 2
    np.savez(path, samples=values, labels=np.arange(N) % 3)
    return path


@pytest.fixture(scope="module")
def data(array) -> Path:
    """Shards that one process wrote."""
    write_shards(str(array), array.parent / "data", options())
    return array.parent / "data"


def options(**more) -> ShardOptions:
    return ShardOptions(**{"shard_samples": SHARD, "processes": 1, "modality": "rows", "plugin": str(FILE)} | more)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_shard_is_arrays_with_labels_beside_them_and_the_table_says_where_each_row_is(array, data):
    index = index_file.load(data)
    assert index.spec == {"alphabet": list(range(0, 200, 2))}
    assert [shard.samples for shard in index.shards] == [900] * 6 + [600]
    with np.load(array) as arrays:
        given = {row.tobytes(): label for row, label in zip(arrays["samples"], arrays["labels"], strict=True)}
    for shard in index.shards:
        whole, table = (data / shard.name).read_bytes(), index_file.load_table(data, shard)
        with tarfile.open(data / shard.name) as tar:
            arrays = {m.name: np.load(io.BytesIO(tar.extractfile(m).read())) for m in tar}
        rows = np.concatenate([part for name, part in arrays.items() if name.endswith(packed.ROWS)])
        labels = np.concatenate([part for name, part in arrays.items() if name.endswith(packed.LABELS)])
        assert rows.shape == (shard.samples, 8)
        assert labels.tolist() == table["label"].tolist() == [given[(2 * row).tobytes()] for row in rows]
        for row, (offset, length) in zip(rows, table[["offset", "length"]].tolist(), strict=True):
            assert whole[offset : offset + length] == row.tobytes()
