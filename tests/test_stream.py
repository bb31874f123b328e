"""What reaches the networks is one stream: the same for all workers, loader processes, stops and starts."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.config.run import DataOptions
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.loader_processes import make_loader
from ragdist.data.order import Order
from ragdist.data.reader import ShardReader, SlotDataset, Slots, Updates
from ragdist.data.shard_files import ShardFiles
from ragdist.data.writing.writer import write_shards
from ragdist.distributed.world import shares

pytestmark = pytest.mark.usefixtures("warm_processes")
BATCH, SAMPLES = 24, 1797
LAST = 25 * BATCH


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "digits"
    write_shards("digits", out, ShardOptions(shard_samples=250))
    return out


def dataset(data, rank: int = 0, world: int = 1, *, augment: bool = True) -> SlotDataset:
    index = index_file.load(data)
    order = Order([s.samples for s in index.shards], index.digest, 3, 8, 60)
    slots = shares(BATCH, world)[rank]
    transforms = DataOptions(crop_padding=2 * augment, flip=augment)
    return SlotDataset(ShardReader(ShardFiles(data, index)), order, 3, 4, BATCH, slots, transforms)


def rank_stream(data, rank: int, world: int, loader_workers: int, start: int, stop: int) -> list[Slots]:
    updates = Updates(start, stop, BATCH)
    return list(make_loader(dataset(data, rank, world), updates, workers=loader_workers, prefetch=2, pin=False))


def stream(data, world: int, loader_workers: int, start: int = 0, stop: int = LAST) -> list[torch.Tensor]:
    """All that the workers together get, update by update, slot by slot."""
    ranks = [rank_stream(data, rank, world, loader_workers, start, stop) for rank in range(world)]
    return [torch.cat([slots[part] for slots in step]) for step in zip(*ranks, strict=True) for part in range(3)]


@pytest.fixture(scope="module")
def whole(data):
    return stream(data, 1, 0)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("loader_workers", [0, 1, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_workers_and_loader_processes_do_not_change_the_stream(data, whole, world, loader_workers):
    found = stream(data, world, loader_workers)
    assert len(found) == len(whole) == 25 * 3
    assert all(map(torch.equal, found, whole))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 24), st.sampled_from([1, 2, 3, 4, 8])), max_size=4), st.integers(1, 8))
def test_a_stop_at_any_update_and_a_start_with_any_number_of_workers_go_on(data, whole, stops, last):
    """Stops at these updates; after each one the run goes on with so many workers."""
    stops = sorted(dict(stops).items())
    cuts, worlds = [0, *(at * BATCH for at, _ in stops), LAST], [last, *(world for _, world in stops)]
    parts = [stream(data, w, 0, a, b) for (a, b), w in zip(itertools.pairwise(cuts), worlds, strict=True) if a < b]
    assert all(map(torch.equal, [part for found in parts for part in found], whole))


def test_each_sample_comes_exactly_once_an_epoch(data):
    """Over the workers of a world that divides nothing, through two epochs, by the decoded pixels."""
    from collections import Counter

    rows = []
    for rank in range(3):
        updates = dataset(data, rank, 3, augment=False)
        for first in range(0, 2 * SAMPLES, BATCH):
            numbers = range(first + updates.slots.start, first + updates.slots.stop)
            # Slot j of an update holds one of the samples first, ..., first + 23: which epoch it is of, its lane says.
            rows += zip(numbers, updates[first].samples, strict=True)
    seen = Counter(sample.numpy().tobytes() for _, sample in rows)
    reader = dataset(data).reader
    index = reader.index
    truth = Counter(
        reader.read(shard, i)[0].numpy().tobytes()
        for shard in range(len(index.shards))
        for i in range(index.shards[shard].samples)
    )
    more = len(rows) - 2 * SAMPLES  # of the third epoch, in the last update
    assert 0 <= more < BATCH
    assert sum((seen - Counter({k: 2 * n for k, n in truth.items()})).values()) == more
    assert not Counter({k: 2 * n for k, n in truth.items()}) - seen
