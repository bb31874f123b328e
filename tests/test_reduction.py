"""Gradients of several logical workers: networks with odd parts, a failure in a thread, what is left of a trainer."""

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ragdist.config import Config, settings
from ragdist.distributed.world import World
from ragdist.training import state
from ragdist.training.logical_workers import Collected
from tests.conftest import TINY
from tests.ranks import on_ranks
from tests.test_world import prepared, train

MEANS = ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 2))  # workers, and threads of each


def freeze(discriminator: nn.Module) -> None:
    next(discriminator.parameters()).requires_grad_(False)


def normalize(discriminator: nn.Module) -> None:
    """Give a network buffers that every forward changes."""
    layers = [module for module in discriminator.modules() if isinstance(module, nn.Linear) and module.out_features > 1]
    assert layers
    for layer in layers:
        spectral_norm(layer)


def with_other_networks(world: World, threads: int, change: Callable[[nn.Module], None], config: Config) -> dict:
    torch.set_num_threads(threads)
    build = state.build_discriminator

    def changed(*arguments, **more):
        network = build(*arguments, **more)
        change(network)
        return network

    state.build_discriminator = changed
    half = train(world, config, config.samples // 2)
    assert half["samples"] < config.samples
    return train(world, config) | {"half": half["weights"]}


def config_of(data: Path, out: Path, *more: str) -> Config:
    words = [*TINY, "--data", str(data), "--out", str(out), "--samples", "256", "--objective.group", "4"]
    return settings.parse([*words, "--data.loader_workers", "0", *more], "test")[0]


@pytest.mark.parametrize("kind", ["one_pass", "alternating"])
@pytest.mark.parametrize("change", [freeze, normalize])
def test_networks_with_frozen_weights_or_buffers_have_the_same_bits(tmp_path, digits, change, kind):
    found = {}
    for size, threads in MEANS:
        config = config_of(digits, tmp_path / f"{size}-{threads}", "--optim.update", kind, "--checkpoint.every", "32")
        found[size, threads] = on_ranks(size, with_other_networks, threads, change, config)
    first = found[1, 1][0]
    for means, ranks in found.items():
        for rank in ranks:
            assert (rank["weights"] == first["weights"]).all(), means
    assert (first["weights"] != first["half"]).any()


def fail_in(world: World, name: str, config: Config) -> list[str]:
    """What a worker raises when a logical worker, or the exchange, fails; and threads that are left of the trainer."""
    torch.set_num_threads(2)
    before = threading.active_count()
    trainer, monitor = prepared(world, config)
    reduction = trainer.step.reduction

    def bad(*arguments, **more):
        raise ValueError(f"{name} failed")

    if name == "exchange":
        reduction.exchange = reduction.buckets.exchange = bad
        bad.rows, bad.mine = lambda length, like: like.new_zeros(0, length), []
    else:
        module = {"replica": reduction.replicas[1], "wrapped": trainer.step.update}[name]
        module.forward = bad
    try:
        trainer.train(monitor)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    if monitor:
        monitor.close()
    return [said, str(threading.active_count() - before)]


@pytest.mark.parametrize("name", ["replica", "wrapped", "exchange"])
def test_what_failed_first_is_raised(tmp_path, digits, name):
    for said, _ in on_ranks(2, fail_in, name, config_of(digits, tmp_path / "run")):
        assert said == f"ValueError: {name} failed"


def drop(world: World, config: Config) -> list[bool]:
    torch.set_num_threads(2)
    before = set(threading.enumerate())
    trainer, monitor = prepared(world, config)
    trainer.train(monitor)
    if monitor:
        monitor.close()
    update = weakref.ref(trainer.step.update)
    mine = set(threading.enumerate()) - before
    assert mine
    del trainer, monitor
    gc.collect()
    for thread in mine:
        thread.join(10)
    return [update() is None, *(not thread.is_alive() for thread in mine), torch.get_num_threads() == 2]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", ["one_pass", "alternating"])
def test_nothing_is_left_of_a_trainer(tmp_path, digits, size, kind):
    for left in on_ranks(size, drop, config_of(digits, tmp_path / "run", "--optim.update", kind)):
        assert all(left)


def test_a_logical_worker_may_have_no_gradient_of_a_parameter():
    collected = Collected(4)
    for number, values in enumerate(([1.0, None, None], [2.0, 3.0, None], [None, 5.0, None], [None, None, None])):
        collected.add(number, [None if value is None else torch.tensor([value]) for value in values])
    assert collected.sums[range(4)] == [torch.tensor([3.0]), torch.tensor([8.0]), None]


def count_threads(world: World, config: Config) -> list[int]:
    """Threads inside of operations while the EMA makes grids, and its copy samples to evaluate; then the caller's."""
    torch.set_num_threads(3)
    trainer, monitor = prepared(world, config)
    found = set()
    trainer.ema.register_forward_hook(lambda *_: found.add(torch.get_num_threads()))
    trainer.prepare(print)
    made = trainer.evaluations.generator
    assert made._forward_hooks, "a copy of the EMA, and of what it is watched with"
    trainer.train(monitor)
    monitor.close()
    assert trainer.evaluations.best["samples"] > 0
    return [*sorted(found), torch.get_num_threads()]


def test_grids_and_evaluations_do_not_depend_on_the_number_of_threads(tmp_path, digits):
    words = ["--evaluate_every", "128", "--evaluate.samples", "64", "--evaluate.features", "pixels"]
    words += ["--evaluate.share", "1", "--evaluate.best", "precision", "--evaluate.metrics", "precision_recall"]
    config = config_of(digits, tmp_path / "run", *words, "--evaluate.cache", str(tmp_path / "cache"))
    assert on_ranks(1, count_threads, config) == [[1, 3]]
