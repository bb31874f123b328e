"""The same bits on any number of workers, threads and loader processes."""

import itertools
import uuid
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist.config import Config, settings
from ragdist.distributed import summation
from ragdist.distributed.world import World
from ragdist.generation import sampling
from ragdist.networks.build import build_generator
from ragdist.objective import ADVERSARIAL
from ragdist.training.gradient_buckets import views
from ragdist.training.logical_workers import Collected
from tests.conftest import TINY
from tests.ranks import on_ranks
from tests.test_networks import options
from tests.test_world import prepared, train

# What decides a run's weights ...
CHOICES = {
    "objective.adversarial": tuple(ADVERSARIAL),
    "objective.r1": ("0", "1"),
    "objective.gp": ("0", "1"),
    "objective.space": ("points", "feature", "points --augment diffaugment,ada --augment.samples 99"),
    "network.labels": ("true", "false"),
    "network.family": ("dcgan", "resnet", "mlp"),
    "precision": ("fp32", "bf16"),
    "optim.update": ("one_pass", "alternating"),
    "optim.micro_batch": ("0", "2"),
    "logical_workers": ("4", "5", "8"),
}
BATCH = {"4": 16, "5": 20, "8": 32}  # of so many logical workers
# ... and what does not: threads, and loader processes.
MEANS = ((1, 0), (2, 1), (1, 3), (2, 0))


def covering(choices: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    """Cases in which any two values of two options come together."""
    pairs = {
        frozenset((one, other))
        for a, b in itertools.combinations(choices, 2)
        for one, other in itertools.product([(a, value) for value in choices[a]], [(b, value) for value in choices[b]])
    }
    found = []
    while pairs:
        case = dict(next(iter(sorted(pairs, key=sorted))))
        for name, values in choices.items():
            if name not in case:
                news = {
                    value: sum(frozenset(((name, value), item)) in pairs for item in case.items()) for value in values
                }
                case[name] = max(values, key=news.get)
        pairs -= {frozenset(pair) for pair in itertools.combinations(case.items(), 2)}
        found.append(case)
    return found


CASES = covering(CHOICES)


def configs(data: Path, out: Path, size: int) -> list[Config]:
    found = []
    for number, case in enumerate(CASES):
        batch = BATCH[case["logical_workers"]]
        words = [*TINY, "--data", str(data), "--out", str(out / f"{size}-{number}"), "--monitor.tensorboard", "false"]
        words += ["--batch_size", str(batch), "--objective.group", "2", "--samples", str(3 * batch)]
        words += ["--objective.penalty_every", "2", "--checkpoint.every", "1000000"]
        words += [word for name, value in case.items() for word in (f"--{name}", *value.split())]
        words += ["--objective.r2", case["objective.r1"]]
        words += ["--data.loader_workers", str(MEANS[(number + size) % len(MEANS)][1])]
        found.append(settings.parse(words, "test")[0])
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory, digits) -> list[str]:
    """What one process with one thread makes of each case."""
    made = configs(digits, tmp_path_factory.mktemp("alone"), 0)
    torch.set_num_threads(1)
    return [train(World(0, 1, torch.device("cpu")), config) for config in made]


def all_of(world: World, configs: list[Config]) -> list[dict]:
    found = []
    for number, config in enumerate(configs):
        torch.set_num_threads(MEANS[(number + world.size) % len(MEANS)][0])
        found.append(train(world, config))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_weights_gradients_and_statistics_are_those_of_one_thread(tmp_path, digits, alone, size):
    found = on_ranks(size, all_of, configs(digits, tmp_path, size))
    for rank in range(size):
        for case, mine, theirs in zip(CASES, found[rank], alone, strict=True):
            assert mine["sha"] == theirs["sha"], case
            assert np.array_equal(mine["gradients"], theirs["gradients"]), case  # statistics are the report's


class Killed(Exception):
    """The end of a process that saves nothing."""


def stretch(world: World, config: Config, until: int, killed: bool) -> str:
    """Train on, until so many samples are seen; what is left is the checkpoints before, or one of that moment."""
    trainer, monitor = prepared(world, config)

    def stop() -> bool:
        if killed and trainer.seen >= until:
            raise Killed
        return trainer.seen >= until

    try:
        return trainer.train(monitor, stop).weights_sha256
    except Killed:
        return ""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits) -> str:
    torch.set_num_threads(1)
    return train(World(0, 1, torch.device("cpu")), run(digits, tmp_path_factory.mktemp("undisturbed")))["sha"]


def run(data: Path, out: Path) -> Config:
    words = [*TINY, "--data", str(data), "--out", str(out), "--samples", "960", "--checkpoint.every", "96"]
    return settings.parse([*words, "--objective.group", "4"], "test")[0]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(32, 900), st.booleans()), min_size=2, max_size=3),
    st.integers(1, 4),
)
@hypothesis.settings(max_examples=3, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_kills_and_changes_of_the_number_of_workers_change_no_bit(tmp_path, digits, undisturbed, schedule, last):
    config = run(digits, tmp_path / uuid.uuid4().hex)
    for size, until, killed in schedule:
        on_ranks(size, stretch, config, until, killed)
    assert set(on_ranks(last, stretch, config, 10**9, False)) == {undisturbed}


@given(st.data())
def test_parts_of_a_sum_give_the_bits_of_the_whole(data):
    count = data.draw(st.integers(1, 16))
    bounds = sorted(data.draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
    parts = [range(a, b) for a, b in itertools.pairwise([0, *bounds, count])]
    numbers = st.floats(-(2.0**100), 2.0**100, width=32)
    values = data.draw(st.lists(numbers, min_size=count, max_size=count))
    terms = {range(i, i + 1): np.float32(value) for i, value in enumerate(values)}
    whole = summation.total(range(count), terms, np.add)
    sums = {}
    for part in parts:
        found = summation.subtrees(count, part)
        assert [term for subtree in found for term in subtree] == list(part)
        sums |= {subtree: summation.total(subtree, terms, np.add) for subtree in found}
    assert summation.total(range(count), sums, np.add).tobytes() == whole.tobytes()


@given(st.integers(1, 16).flatmap(lambda count: st.permutations(range(count))))
def test_gradients_may_come_in_any_order(order):
    count = len(order)
    values = [torch.tensor([2.0 ** (7 * i % 50) * (-1) ** i, 1e-8 * i]) for i in range(count)]
    collected = Collected(count)
    for number in order:
        collected.add(number, [values[number].clone(), None])
    expected = summation.total(range(count), {range(i, i + 1): value for i, value in enumerate(values)}, torch.add)
    gradients = collected.sums.pop(range(count))
    assert torch.equal(gradients[0], expected)
    assert gradients[1] is None
    assert not collected.sums


def test_gradients_lie_in_a_bucket_as_their_parameters_in_memory():
    kernel = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5).to(memory_format=torch.channels_last)
    parameters = [torch.zeros(7), kernel, torch.zeros(2, 2)]
    flat = torch.zeros(200)[3:150]
    first, second, third = views(flat, parameters)
    second.copy_(kernel)
    third.fill_(1)
    assert first.shape == (7,)
    assert second.stride() == kernel.stride()
    assert torch.equal(flat[7 : 7 + kernel.numel()], kernel.permute(0, 2, 3, 1).flatten())
    assert flat[7 + kernel.numel() :].sum() == 4


@pytest.mark.parametrize("family", ["dcgan", "resnet"])
def test_samples_have_the_same_bits_with_any_number_of_threads(family):
    generator = build_generator(options(family), (3, 16, 16), 0).eval()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(torch.cat(list(sampling.sample(generator, 5, 150))))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert not found[0].requires_grad
