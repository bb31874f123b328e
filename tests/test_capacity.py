"""How many workers are asked for, how many fit, and what each gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.config.division import rounds
from ragdist.config.world_size import AS_MANY_AS_FIT, WorldSize, parse
from ragdist.launch.on_ray.capacity import Node, choose, fit, need_of, returned, room
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, refused


def node(name: str, cpu: float, gpu: float = 0, *, free: float | None = None, usable: bool = True) -> Node:
    total = {"CPU": cpu, "GPU": gpu} if gpu else {"CPU": cpu}
    return Node(name, name, total, total if free is None else {"CPU": free}, usable)


@pytest.mark.parametrize(("text", "environment", "size"), [
    ("0", {}, (0, 0)),
    ("4", {}, (4, 4)),
    ("2:8", {}, (2, 8)),
    ("auto", {}, (0, 0)),
    ("auto", {"RAY_ADDRESS": "auto"}, (1, AS_MANY_AS_FIT)),
    ("0", {"RAY_ADDRESS": "auto"}, (0, 0)),
])  # fmt: skip
def test_what_workers_may_be(text, environment, size):
    assert parse(text, environment) == size


@pytest.mark.parametrize("text", ["-1", "8:2", "0:3", "two", "2:", "1.5", "", "12345678"])
def test_what_workers_may_not_be(text):
    with pytest.raises(UserError, match=r"--workers .* must be auto, 0"):
        parse(text, {})


def test_the_command_says_so(tmp_path, digits):
    assert "--workers 3:2" in refused(command("ragdist.train", *TINY, "--workers=3:2", cwd=tmp_path))
    line = refused(command("ragdist.train", *TINY, f"--data={digits}", "--workers=1", cwd=tmp_path,
                           RAY_ADDRESS="127.0.0.1:1", RAY_AUTH_MODE="disabled"))  # fmt: skip
    assert "no Ray cluster at RAY_ADDRESS 127.0.0.1:1" in line


def test_room_is_on_usable_nodes():
    nodes = [node("head", 0), node("a", 4), node("b", 4, free=1), node("gone", 4, usable=False)]
    assert room(nodes, {"CPU": 2.0}) == 4
    assert room(nodes, {"CPU": 2.0}, free=True) == 2
    assert fit({"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0, "GPU": 1.0}) == 2
    assert fit({"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}) == 0


def test_what_ended_workers_held_is_back_when_it_is_on_every_node():
    held, need = {"a": 1, "b": 2, "gone": 1}, {"CPU": 2.0}
    gone, new = node("gone", 4, free=0, usable=False), node("new", 4)
    assert returned([node("a", 4, free=2), node("b", 4), gone, new], held, need)
    assert not returned([node("a", 4, free=2), node("b", 4, free=2), gone, new], held, need)  # as much, not all of it
    assert not returned([node("a", 4, free=0), node("b", 4), gone, new], held, need)
    assert returned([], held, need)


@pytest.mark.parametrize(("nodes", "size", "cpus", "gpus", "need"), [
    ([node("a", 2)], WorldSize(1, 1), 0, None, {"CPU": 2.0}),
    ([node("a", 2)], WorldSize(2, 2), 0, None, {"CPU": 1.0}),
    ([node("a", 8)], WorldSize(3, 3), 0, None, {"CPU": 2.0}),
    ([node("head", 0), node("a", 8), node("b", 4)], WorldSize(1, AS_MANY_AS_FIT), 0, None, {"CPU": 4.0}),
    ([node("head", 2), node("a", 64, 8)], WorldSize(1, AS_MANY_AS_FIT), 0, None, {"CPU": 8.0, "GPU": 1.0}),
    ([node("a", 64, 8)], WorldSize(2, 2), 0, None, {"CPU": 32.0, "GPU": 1.0}),
    ([node("a", 64, 8)], WorldSize(2, 2), 3, 0, {"CPU": 3.0}),
    ([node("head", 0)], WorldSize(4, 4), 0, 1, {"CPU": 1.0, "GPU": 1.0}),  # nodes will come
    ([node("head", 0)], WorldSize(1, AS_MANY_AS_FIT), 0, None, {"CPU": 1.0}),
])  # fmt: skip
def test_a_worker_gets_its_share(nodes, size, cpus, gpus, need):
    assert need_of(nodes, size, cpus, gpus) == need


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 20), st.integers(1, 16), st.integers(1, 4))
def test_a_choice_is_the_least_number_as_fast_as_the_largest(low, more, fits, logical, threads):
    size = WorldSize(min(low, logical), min(low + more, logical))
    count = choose(size, fits, logical, threads)
    assert (count == 0) == (fits < size.low)
    if count:
        most = min(size.high, fits)
        assert size.low <= count <= most
        assert rounds(logical, count, threads) == rounds(logical, most, threads)
        assert count == size.low or rounds(logical, count - 1, threads) > rounds(logical, count, threads)


def test_workers_with_nothing_more_to_do_are_not_started():
    assert [choose(WorldSize(1, 8), fits, 8, 1) for fits in range(10)] == [0, 1, 2, 3, 4, 4, 4, 4, 8, 8]
    assert [choose(WorldSize(1, 8), fits, 8, 2) for fits in range(10)] == [0, 1, 2, 2, 4, 4, 4, 4, 4, 4]
    assert choose(WorldSize(6, 6), 6, 8, 1) == 6  # as asked for
    assert choose(WorldSize(2, 8), 1, 8, 1) == 0
