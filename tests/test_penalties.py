"""Weights of gradient penalties that are left to the data, and the penalty between reals and fakes in a run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist.data import index as index_file
from ragdist.distributed.world import World
from ragdist.launch.session import introduction
from ragdist.runs import checkpoint
from ragdist.tools import noise
from ragdist.tools.errors import UserError
from ragdist.training import penalty_scale
from ragdist.training.penalty_scale import SHARE, spread
from tests.conftest import TINY, refused_here
from tests.ranks import on_ranks
from tests.test_world import config_of, prepared, train

AUTO = ("--objective.r1", "auto", "--objective.r2", "auto")
ONE = World(0, 1, torch.device("cpu"))


@given(st.integers(2, 40), st.integers(1, 16), st.integers(0, 2**32), st.floats(0.01, 100), st.floats(-10, 10))
def test_the_spread_is_half_the_mean_squared_distance_of_two_samples(count, batch, seed, size, place):
    samples = torch.randn(count, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    samples = size * samples + place
    points = samples.flatten(1)
    squares = (points[:, None] - points[None]).square().sum(2)
    expected = squares.sum().item() / (count * (count - 1)) / 2
    assert spread(samples.split(batch)) == pytest.approx(expected, rel=1e-6)


def run_of(digits: Path, out: Path, *options: str):
    return config_of(*TINY, "--data", str(digits), "--out", str(out), "--objective.group", "8", "--samples", "256",
                     "--monitor.tensorboard", "false", "--checkpoint.every", "1000", *options)  # fmt: skip


@pytest.fixture(scope="module")
def automatic(tmp_path_factory, digits):
    """The folder of a run with both weights left to the data, what it ends with, and its weight."""
    out = tmp_path_factory.mktemp("automatic")
    found = train(ONE, run_of(digits, out, *AUTO), stop_after=128)
    _, broken = checkpoint.load_newest(out / "checkpoints", ONE.device)
    assert not broken
    return out, found, checkpoint.load_newest(out / "checkpoints", ONE.device)[0].meta["penalty_weight"]


def test_an_automatic_weight_is_a_share_of_the_spread_of_the_data(digits, automatic):
    trainer, _ = prepared(ONE, run_of(digits, automatic[0], *AUTO))
    whole = torch.cat(list(trainer.loader.first_samples(10**6))).double().flatten(1)
    assert len(whole) == trainer.index.samples
    count = min(penalty_scale.SAMPLES, len(whole))
    assert automatic[2] == float(f"{SHARE * whole[:count].var(0).sum().item():.3g}") > 0


def test_a_run_with_an_automatic_weight_is_the_run_with_that_number(tmp_path, digits, automatic):
    _, found, weight = automatic
    number = ("--objective.r1", str(weight), "--objective.r2", str(weight))
    assert np.array_equal(train(ONE, run_of(digits, tmp_path, *number), stop_after=128)["weights"], found["weights"])


def test_a_run_goes_on_with_the_weight_that_it_began_with(digits, automatic, monkeypatch):
    out, _, weight = automatic
    monkeypatch.setattr(penalty_scale, "measured", lambda *_: pytest.fail("measured again"))
    trainer, _ = prepared(ONE, run_of(digits, out, *AUTO))
    assert trainer.penalty_weight == weight
    assert trainer.step.update.options.r1 == trainer.step.update.options.r2 == weight
    assert f"R1 and R2 auto: weight {weight:g}" in "\n".join(introduction(trainer.config, trainer.index, trainer))
    with pytest.raises(UserError, match=r"objective.r1 auto -> 0.5"):
        prepared(ONE, run_of(digits, out, "--objective.r1", "0.5", "--objective.r2", "auto"))


def of_two(world: World, out: Path, digits: Path) -> dict:
    return train(world, run_of(digits, out, *AUTO, "--objective.gp", "1"))


def test_two_workers_have_the_weight_and_the_interpolates_of_one(tmp_path, digits):
    torch.set_num_threads(1)
    alone = of_two(ONE, tmp_path / "alone", digits)
    for found in on_ranks(2, of_two, tmp_path / "two", digits):
        assert np.array_equal(found["weights"], alone["weights"])


def test_data_without_spread_are_refused(tmp_path, digits, monkeypatch):
    config = run_of(digits, tmp_path, *AUTO)
    monkeypatch.setattr(penalty_scale, "spread", lambda _: 0.0)
    with pytest.raises(UserError, match="all alike: give a number"):
        prepared(ONE, config)


def test_interpolates_are_drawn_by_the_number_of_the_sample(tmp_path, digits):
    trainer, _ = prepared(ONE, run_of(digits, tmp_path, "--objective.gp", "1"))
    batch = trainer.config.batch_size
    slots = next(iter(trainer.loader.batches(3 * batch)))
    found = trainer.loader.to_device(slots, 3 * batch).shares
    expected = noise.uniform(trainer.config.seed, noise.INTERPOLATE, 3 * batch, batch, 1)[:, 0]
    assert np.array_equal(found.numpy(), expected.astype(np.float32))
    trainer, _ = prepared(ONE, run_of(digits, tmp_path / "without"))
    assert trainer.loader.to_device(slots, 3 * batch).shares is None


@pytest.mark.parametrize("update", ["one_pass", "alternating"])
def test_penalties_that_are_on_are_logged(tmp_path, digits, update):
    options = ("--objective.adversarial", "wasserstein", "--objective.gp", "10", "--optim.update", update)
    config = run_of(digits, tmp_path, *options, "--objective.r1", "0", "--objective.r2", "0", "--samples", "64")
    train(ONE, config)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["gp"] > 0
    assert not rows[0].keys() & {"r1", "r2"}


def test_wasserstein_without_a_penalty_is_warned_of(tmp_path, digits):
    options = ("--objective.adversarial", "wasserstein", "--objective.r1", "0", "--objective.r2", "0")
    for more, warned in (((), True), (("--objective.gp", "10"), False)):
        config = run_of(digits, tmp_path / str(warned), *options, *more)
        trainer, _ = prepared(ONE, config)
        lines = introduction(config, index_file.load(str(digits)), trainer)
        assert ("give --objective.gp 10" in lines[-1]) == warned


def test_a_weight_that_is_none_is_refused(tmp_path):
    from ragdist.train import main

    for value, said in (("abc", "'abc' is not a number or auto"), ("-1", "must be 0 or more, or auto")):
        assert said in refused_here(main, "--objective.r1", value, "--out", tmp_path)
