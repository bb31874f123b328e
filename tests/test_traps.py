"""What streaming readers of WebDataset lose or change without a word, each as a test of what happens here.

Of the traps that are not here, tests/test_tars.py and test_foreign.py have those of shards that others
wrote (cut, joined or corrupt tars, dotted, interleaved and repeated keys, unfinished shards),
test_stream.py those of resuming and of the number of workers, test_bad_samples.py flipped bits, and
test_remote.py those of the network.
"""

import shutil

import pytest
import torch

from ragdist.config.run import DataOptions
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.order import Order
from ragdist.data.reader import ShardReader, SlotDataset
from ragdist.data.shard_files import ShardFiles
from ragdist.data.writing.writer import write_shards
from ragdist.distributed.world import shares
from ragdist.storage.cache import Cache
from tests.servers import serving


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Four shards of 500, 500, 500 and 297 digits."""
    out = tmp_path_factory.mktemp("data") / "digits"
    write_shards("digits", out, ShardOptions(shard_samples=500))
    return out


def samples(where, **more) -> list[torch.Tensor]:
    index = index_file.load(where)
    reader = ShardReader(ShardFiles(where, index, **more))
    return [reader.read(s, i)[0] for s, shard in enumerate(index.shards) for i in range(shard.samples)]


def test_a_corrupt_header_in_mid_shard_does_not_lose_the_rest_of_it(uneven, tmp_path):
    """A tar reader takes it for the end of the file; the index knows where each payload is."""
    shutil.copytree(uneven, tmp_path / "data")
    shard = index_file.load(uneven).shards[0]
    offset = int(index_file.load_table(uneven, shard)[100]["offset"])
    content = bytearray((tmp_path / "data" / shard.name).read_bytes())
    content[offset - 512 : offset] = bytes(512)
    (tmp_path / "data" / shard.name).write_bytes(content)
    import webdataset

    url = str(tmp_path / "data" / shard.name)
    assert len(list(webdataset.WebDataset(url, shardshuffle=False))) < 110, "the reader that loses them, silently"
    assert all(map(torch.equal, samples(tmp_path / "data"), samples(uneven)))


def test_shards_are_in_another_order_in_every_epoch_and_in_the_same_on_all_workers(uneven):
    index = index_file.load(uneven)
    counts = [shard.samples for shard in index.shards]
    orders = [Order(counts, index.digest, 0, 4, 100) for _ in range(3)]  # one each, as three workers have
    epochs = [[tuple(order.locate(epoch * 1797, 1797)[0][:200]) for epoch in range(4)] for order in orders]
    assert epochs[0] == epochs[1] == epochs[2]
    assert len(set(epochs[0])) == 4


def test_every_worker_sees_all_shards_in_time(uneven):
    """And not the same part of the data in every epoch."""
    index = index_file.load(uneven)
    order = Order([shard.samples for shard in index.shards], index.digest, 0, 4, 100)
    slots = shares(32, 4)[0]
    seen = {s for first in range(0, 12 * 1797, 32) for s in order.locate_slots(first, 32, slots)[0].tolist()}
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shards_of_other_sizes_give_all_workers_as_many_updates(uneven, world):
    index = index_file.load(uneven)
    order = Order([shard.samples for shard in index.shards], index.digest, 0, 4, 100)
    reader = ShardReader(ShardFiles(uneven, index))
    for first in range(0, 2 * 1797, 31 * 8):
        parts = [
            SlotDataset(reader, order, 0, 4, 31, shares(31, world)[rank], DataOptions(crop_padding=0, flip=False))[
                first
            ]
            for rank in range(world)
        ]
        assert all(len(part.samples) in (31 // world, 31 // world + 1) for part in parts)
        assert sum(len(part.samples) for part in parts) == 31


def test_two_data_sets_with_the_same_shard_names_do_not_collide_in_a_cache(uneven, tmp_path):
    for seed in (0, 1):
        write_shards("digits", tmp_path / "root" / str(seed), ShardOptions(shard_samples=500, seed=seed))
    (tmp_path / "nginx").mkdir()
    cache = Cache(tmp_path / "cache", 10**9)
    with serving(tmp_path / "root", tmp_path / "nginx") as server:
        found = [samples(f"{server.url}/{seed}", cache=cache) for seed in (0, 1, 0)]
    assert all(map(torch.equal, found[0], samples(tmp_path / "root" / "0")))
    assert all(map(torch.equal, found[1], samples(tmp_path / "root" / "1")))
    assert all(map(torch.equal, found[0], found[2]))
    assert not all(map(torch.equal, found[0], found[1]))


def test_a_bad_sample_costs_no_pause(uneven, tmp_path):
    """Every other one of a shard is bad: 250 pauses of webdataset's warn_and_continue would be two minutes."""
    import time

    shutil.copytree(uneven, tmp_path / "data")
    index = index_file.load(uneven)
    content = bytearray((tmp_path / "data" / index.shards[0].name).read_bytes())
    for row in index_file.load_table(uneven, index.shards[0])[::2]:
        content[int(row["offset"]) + 50] ^= 255
    (tmp_path / "data" / index.shards[0].name).write_bytes(content)
    reader = ShardReader(ShardFiles(tmp_path / "data", index))
    start = time.perf_counter()
    assert sum(len(reader.read_or_next(0, i)[2]) for i in range(500)) == 250
    assert time.perf_counter() - start < 60
