"""The division of a global batch: pairing groups, logical workers, micro-batches, workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.config import Config
from ragdist.config.division import group_size, logical_workers, micro_batch, rounds, settle, workers
from ragdist.config.run import ObjectiveOptions, OptimOptions
from ragdist.config.world_size import AS_MANY_AS_FIT, WorldSize
from ragdist.tools.errors import UserError


def config(batch: int, group: int, asked: int = 0, micro: int = 0, text: str = "auto") -> Config:
    return Config(
        batch_size=batch,
        logical_workers=asked,
        workers=text,
        objective=ObjectiveOptions(group=group),
        optim=OptimOptions(micro_batch=micro),
    )


@given(st.integers(1, 300), st.integers(2, 64))
def test_group_size(batch, group):
    size = group_size(batch, group)
    assert batch % size == 0
    assert size <= group
    assert not any(batch % other == 0 for other in range(size + 1, min(batch, group) + 1))


@given(st.integers(2, 600), st.integers(2, 70))
def test_the_default_is_the_most_up_to_8_that_have_whole_groups(batch, group):
    count, size = logical_workers(config(batch, group)), group_size(batch, group)
    assert batch % (count * size) == 0
    assert not any(batch % (more * size) == 0 for more in range(count + 1, 9))


@pytest.mark.parametrize(("batch", "group", "asked", "says"), [
    (64, 32, 4, "--logical_workers 4: each has as many pairing groups, and a batch of 64 has 2 of 32 slots; choose 1, 2, "
                "or another --batch_size or --objective.group"),
    (48, 4, 9, "choose 1, 2, 3, 4, 6, 12, or"),
])  # fmt: skip
def test_logical_workers_have_whole_groups(batch, group, asked, says):
    with pytest.raises(UserError) as caught:
        logical_workers(config(batch, group, asked))
    assert says in str(caught.value)


def test_workers_are_at_most_the_logical_ones():
    run = config(64, 16, text="2:8")
    assert workers(run, WorldSize(2, 3)) == (WorldSize(2, 3), "")
    assert workers(run, WorldSize(0, 0)) == (WorldSize(0, 0), "")
    assert workers(run, WorldSize(1, AS_MANY_AS_FIT)) == (WorldSize(1, 4), "")
    size, said = workers(run, WorldSize(2, 8))
    assert size == WorldSize(2, 4)
    assert said == "--workers 2:8: at most 4 are started, for this run has 4 logical workers"
    with pytest.raises(UserError, match=r"^--workers 2:8: .*; give --workers 4 or fewer, "):
        workers(run, WorldSize(5, 5))


@pytest.mark.parametrize(("says", "saved", "has"), [
    (0, 0, 0), (0, 1, 1), (0, 2, 2),  # what is not said is as it was; a run of before there was the option has one
    (4, 0, 0),  # the default of this batch, by its number
    (2, 0, 2), (2, 4, 2), (4, 4, 4),  # another configuration, or what it was
])  # fmt: skip
def test_a_run_that_goes_on_has_what_it_had(says, saved, has):
    run = config(64, 16, says)
    settle(run, {"logical_workers": saved})
    assert run.logical_workers == has


@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 8))
def test_rounds_are_those_of_the_busiest_thread(count, size, threads):
    of_worker = max(len(range(rank, count, size)) for rank in range(size))
    assert rounds(count, size, threads) == max(len(range(thread, of_worker, threads)) for thread in range(threads))


@given(st.integers(2, 400), st.integers(2, 400), st.integers(0, 300))
def test_a_micro_batch_is_whole_groups_of_a_logical_worker(batch, group, asked):
    run = config(batch, group, micro=asked)
    size, slots = group_size(batch, group), batch // logical_workers(run)
    if 0 < asked < size:
        with pytest.raises(UserError, match=f"--optim.micro_batch {asked}: a pairing group has {size} slots"):
            micro_batch(run, cpu=True)
        return
    for cpu in (True, False):
        found = micro_batch(run, cpu=cpu)
        assert found % size == 0 or found == slots
        assert found <= slots
        assert asked == 0 or found <= max(asked, size)
    if not asked:
        assert micro_batch(run, cpu=False) == slots
        assert micro_batch(run, cpu=True) in (slots, max(64 // size, 1) * size)
