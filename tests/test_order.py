"""The order of samples: frozen, exactly once an epoch, the same whatever slice is asked for."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.data.order import Order

GOLDEN = [(2, 4), (1, 0), (0, 3), (2, 5), (0, 1), (3, 3), (2, 0), (2, 6), (1, 0), (2, 3), (0, 0), (3, 2)]

orders = st.builds(
    Order,
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.just("digest"),
    st.integers(0, 2**63 - 1),
    lanes=st.integers(1, 9),
    window=st.integers(1, 50),
)


def places(order: Order, first: int, count: int) -> list[tuple[int, int]]:
    return list(zip(*(part.tolist() for part in order.locate(first, count)), strict=True))


@given(orders, st.integers(0, 5))
def test_each_sample_comes_exactly_once_an_epoch(order, epoch):
    n = order.samples
    everything = {(shard, i) for shard, count in enumerate(order.counts) for i in range(count)}
    seen = places(order, epoch * n, n)
    assert len(seen) == n
    assert set(seen) == everything


@given(orders, st.integers(0, 300), st.integers(1, 120), st.data())
def test_the_order_does_not_depend_on_how_it_is_asked_for(order, first, count, data):
    whole = places(order, first, count)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        if stop > start:
            parts += places(pickle.loads(pickle.dumps(order)), first + start, stop - start)
    assert parts == whole


@given(orders, st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 6))
def test_workers_together_read_what_one_reads(order, world, update):
    from ragdist.distributed.world import shares

    batch = 13
    slices = [shares(batch, world)[rank] for rank in range(world)]
    together = [p for s in slices for p in (places(order, update * batch + s.start, len(s)) if len(s) else [])]
    assert together == places(order, update * batch, batch)


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(1, 4))
def test_a_slot_reads_its_lane_and_a_lane_is_a_contiguous_share(lanes, per_lane):
    """With a batch that the lanes divide, slot j reads lane j mod L, and a lane touches its share of the shards."""
    shards, size = 12, 10
    order = Order([size] * shards, "d", 5, lanes, 1000)
    batch = lanes * per_lane
    touched = [set() for _ in range(lanes)]
    for first in range(0, shards * size - batch, batch):
        for slot, (shard, _) in enumerate(places(order, first, batch)):
            touched[slot % lanes].add(shard)
    assert all(len(lane) <= shards // lanes + 2 for lane in touched)


def test_the_shuffle_stays_inside_its_window():
    order = Order([1000], "d", 1, 1, 100)
    samples = order.locate(0, 1000)[1]
    assert (samples // 100 == np.arange(1000) // 100).all()
    assert (samples != np.arange(1000)).mean() > 0.9


def test_epochs_seeds_and_data_have_other_orders():
    def first(seed, digest, epoch):
        return tuple(Order([500], digest, seed, 4, 1000).locate(epoch * 500, 500)[1])

    assert len({first(0, "a", 0), first(0, "a", 1), first(1, "a", 0), first(0, "b", 0)}) == 4


def test_golden_order():
    """A change of these is a change of every run that was ever made."""
    order = Order([5, 3, 7, 4], "0123456789abcdef", 42, 3, 4)
    assert places(order, 15, 12) == GOLDEN


def test_memory_is_bounded_by_shards_and_windows():
    """Ten million samples: no table of them is made."""
    import tracemalloc

    order = Order([10_000] * 1000, "d", 0, 8, 65_536)
    tracemalloc.start()
    order.locate(9_000_000, 256)
    order.locate(19_999_900, 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6


@given(orders, st.integers(0, 300), st.integers(1, 60), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]))
def test_what_is_fetched_ahead_is_what_is_read(order, update, count, batch, world):
    """Through epochs, for any batch: all shards that a worker's slots read are among those said to come."""
    from ragdist.distributed.world import shares

    first, stop = update * batch, (update + count) * batch
    for rank in range(min(world, batch)):
        slots = shares(batch, world)[rank]
        read = {s for image in range(first, stop, batch) for s in order.locate_slots(image, batch, slots)[0].tolist()}
        assert read <= set(order.upcoming(first, stop, batch, slots))


def test_shards_in_use_are_those_of_a_window_of_each_lane():
    assert Order([10_000] * 1000, "d", 0, 8, 16_384).shards_in_use == 8 * 3
    assert Order([10_000] * 1000 + [1], "d", 0, 8, 16_384).shards_in_use == 8 * 4, "a small one is one more, not all"
    assert Order([100] * 3, "d", 0, 8, 16_384).shards_in_use == 3


def test_nothing_is_fetched_for_images_that_are_not_wanted():
    order = Order([100] * 40, "d", 0, 1, 100)
    assert len(set(order.upcoming(0, 100, 10, range(10)))) <= 2
    assert len(set(order.upcoming(3950, 4100, 10, range(10)))) <= 4, "the end of an epoch and the next one's begin"
