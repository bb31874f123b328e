"""The comparison of readers runs, on a tiny data set, and each of them gives the same images."""

import re

import pytest
import torch

from benchmarks import reader
from benchmarks.readers import BATCH, ENTRIES, fresh, make, prepare
from ragdist.config.shards import ShardOptions
from ragdist.data.writing.writer import write_shards
from tests.conftest import encoded, picture

# What the tests' environment has without a server.
READERS = ["decoder", "operator", "local", "latents", "webdataset", "folder"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    for label in range(2):
        (folder / "pictures" / f"{label}").mkdir(parents=True)
        for number in range(5 * BATCH):
            payload = encoded(picture(1000 * label + number), "jpeg")
            (folder / "pictures" / f"{label}" / f"{number}.jpg").write_bytes(payload)
    write_shards(str(folder / "pictures"), folder / "shards", ShardOptions(shard_samples=200, processes=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "installed", lambda entry: False)
        with prepare.prepared(folder / "shards") as found:
            yield found


def test_all_give_the_same_images(data):
    """An epoch of each, by what is in it: Pillow's decoder and torchvision's may differ by a little."""
    sums = {}
    for name in ("local", "webdataset", "folder"):
        epoch = torch.cat(list(make(name, data).batches()))
        assert epoch.dtype == torch.uint8
        assert epoch.shape == (data.samples, 3, 8, 8)
        sums[name] = torch.sort(epoch.float().mean((1, 2, 3)))[0]
    assert (sums["local"] - sums["folder"]).abs().max() < 1
    assert (sums["webdataset"] - sums["folder"]).abs().max() == 0


def test_the_tables_have_a_row_of_figures_for_each(data):
    rates = reader.one_core(data, READERS, 1, 0.05)
    measured = fresh.measure("local", data, workers=1, start=2 * BATCH, seconds=0.05)
    assert measured["imports"] > 0.1
    assert 0 < measured["first"] < 60
    assert 100 < measured["pss"] < measured["rss"]
    found = {(name, what): [measured] for name in READERS for what in ("first", "resume", "workers")}
    rates |= {(name, "workers"): [measured["rate"]] for name in READERS}
    tables = [[[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
              for part in reader.report(rates, found, READERS).split("\n\n")]  # fmt: skip
    assert [row[0] for row in tables[0][2:]] == [ENTRIES[name].title for name in READERS]
    assert tables[1][0][1:] == [ENTRIES[name].title for name in ("webdataset", "folder")]
    assert [row[0] for row in tables[2][2:]] == [ENTRIES[name].title for name in ("local", "webdataset", "folder")]
    figure = re.compile(r"[\d,.]+ \([\d,.]+ to [\d,.]+\)")
    assert all(figure.fullmatch(cell) for rows in tables for row in rows[2:] for cell in row[1:] if cell)
    assert reader.picture(rates, READERS).count("<text") > len(READERS)
