"""The same run on 1, 2, 3 and 4 workers: weights, order, resuming, bad samples, what is reduced."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from ragdist.config import Config, settings
from ragdist.config.run import ObjectiveOptions
from ragdist.data import index as index_file
from ragdist.distributed.agreement import outliers
from ragdist.distributed.world import World, shares
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.tools.errors import UserError
from ragdist.training.monitor import Monitor
from ragdist.training.trainer import Trainer
from tests.conftest import TINY
from tests.ranks import on_ranks

CPU = torch.device("cpu")


def config_of(*arguments: str) -> Config:
    config, _ = settings.parse([*arguments, "--data.loader_workers", "0"], "test")
    return config


def prepared(world: World, config: Config) -> tuple[Trainer, Monitor | None]:
    """A rank's trainer, and rank 0's monitor."""
    folder = RunFolder(config.out)
    for path in (folder.checkpoints, folder.samples):
        path.mkdir(parents=True, exist_ok=True)
    index = index_file.load(config.data.path)
    trainer = Trainer(config, world, index, folder)
    return trainer, Monitor(config, folder, index, trainer.seen) if world.rank == 0 else None


def train(world: World, config: Config, stop_after: int = 0) -> dict:
    """One rank of a run; weights at the end."""
    torch.use_deterministic_algorithms(True)
    trainer, monitor = prepared(world, config)
    outcome = trainer.train(monitor, lambda: bool(stop_after) and trainer.seen >= stop_after)
    if monitor:
        monitor.close()
    weights = {**trainer.generator.state_dict(), **{"d." + k: v for k, v in trainer.discriminator.state_dict().items()}}
    gradients = [p.grad.flatten() for p in trainer.step.update.parameters() if p.grad is not None]
    return {"sha": outcome.weights_sha256, "samples": outcome.seen, "bad": len(trainer.loader.bad),
            "weights": torch.cat([w.flatten() for w in weights.values()]).numpy(),
            "gradients": torch.cat(gradients).numpy()}  # fmt: skip


def train_all(world: World, size: int, *configs: Config) -> list[dict]:
    """Several runs of the first ``size`` ranks, one after the other."""
    return [train(world, config) for config in configs]


def alone(config: Config) -> dict:
    torch.set_num_threads(1)
    return train(World(0, 1, CPU), config)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# The default networks; one-pass and alternating; conditional or not.
CASES = {
    "digits": ["--batch_size", "24", "--objective.group", "4"],
    "resnet": ["--network.family", "resnet", "--network.labels", "false", "--batch_size", "24", "--network.g_width",
               "16", "--network.d_width", "16", "--network.max_width", "32", "--objective.group", "6"],
    "alternating": ["--optim.update", "alternating", "--batch_size", "26", "--objective.group", "2",
                    "--logical_workers", "13"],
    "features": ["--objective.space", "feature", "--batch_size", "24", "--objective.group", "3",
                 "--objective.pairing", "all"],
}  # fmt: skip


def case(name: str, data: Path, out: Path) -> Config:
    # Metrics are means since the reading before, which a slow machine takes at another update: there are two, of the
    # first update and of all others.
    config = config_of("--data", str(data), "--out", str(out), "--monitor.seconds", "3600", "--monitor.grid_every",
                       "1000000", "--monitor.tensorboard", "false", *CASES[name])  # fmt: skip
    return replace(config, samples=6 * config.batch_size)


def last_row(out: Path) -> dict:
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def singles(tmp_path_factory, digits) -> dict[str, tuple[dict, dict]]:
    """What one process makes of each case, and its last metrics."""
    place = tmp_path_factory.mktemp("singles")
    return {name: (alone(case(name, digits, place / name)), last_row(place / name)) for name in CASES}


@pytest.mark.parametrize("size", [2, 3, 4])
def test_weights_are_those_of_one_process(tmp_path, digits, singles, size):
    found = on_ranks(size, train_all, size, *[case(name, digits, tmp_path / name) for name in CASES])
    for number, (name, (single, metrics)) in enumerate(singles.items()):
        for rank in range(size):
            assert np.array_equal(found[rank][number]["weights"], found[0][number]["weights"]), "the ranks differ"
        assert np.array_equal(found[0][number]["weights"], single["weights"]), name
        mine = last_row(tmp_path / name)
        for key in ("loss_g", "loss_d", "relative_distance", "coverage", "grad_norm_g"):
            assert mine[key] == metrics[key], (name, key)


def test_a_run_goes_on_with_any_number_of_workers(tmp_path, digits):
    options = [*TINY, "--data", str(digits), "--checkpoint.every", "160", "--samples", "960", "--objective.group", "8"]
    single = alone(config_of(*options, "--out", str(tmp_path / "alone")))
    # A third of it on three workers, a third on two, the rest on one.
    part = config_of(*options, "--out", str(tmp_path / "part"))
    assert on_ranks(3, train, part, 320)[0]["samples"] == 320 + 32  # who wants to stop says so with the next update
    assert on_ranks(2, train, part, 640)[0]["samples"] == 640 + 32
    last = alone(part)
    assert last["samples"] == 960
    assert last["sha"] == single["sha"]


def train_with_a_flipped_bit(world: World, config: Config, rank: int, at: int) -> str:
    """A run in which one rank's memory changes a bit; what it ends with."""
    trainer, monitor = prepared(world, config)

    def flip() -> bool:
        if world.rank == rank and trainer.seen == at:
            next(trainer.discriminator.parameters()).data.view(torch.int32).view(-1)[0] ^= 1
        return False

    with pytest.raises(UserError) as caught:
        trainer.train(monitor, flip)
    return str(caught.value)


@pytest.mark.parametrize(("size", "rank", "says"), [
    (3, 1, r"^the weights of rank 1 \([^)]+\) differ from the others' after 640 images: "),
    (2, 0, r"^the weights of the ranks 0 \([^)]+\), 1 \([^)]+\) differ after 640 images: "),
])  # fmt: skip
def test_a_flipped_bit_is_found_at_the_next_checkpoint(tmp_path, digits, size, rank, says):
    config = config_of(*TINY, "--data", str(digits), "--out", str(tmp_path), "--checkpoint.every", "320",
                       "--samples", "1920")  # fmt: skip
    said = on_ranks(size, train_with_a_flipped_bit, config, rank, 416)
    assert len(set(said)) == 1
    assert re.match(says, said[0]), said[0]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["samples-000000000320"]


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=9))
def test_outliers_are_those_without_the_majority(values):
    found = outliers(values)
    less = min("ab", key=values.count)
    if values.count("a") == values.count("b"):
        assert found == list(range(len(values)))
    else:
        assert found == [place for place, value in enumerate(values) if value == less]


def count_bytes(world: World, config: Config) -> tuple[list[int], int]:
    """What a worker sends to others in two updates after a first one, by operation, and the bytes of all gradients."""
    sent = []
    to_all, gather = dist.all_to_all_single, dist.all_gather_into_tensor

    def counted_to_all(output, values, *arguments):
        sent.append(values.nbytes * (world.size - 1) // world.size)
        return to_all(output, values, *arguments)

    def counted_gather(output, values):
        sent.append(values.nbytes * (world.size - 1))
        return gather(output, values)

    def unexpected(*arguments, **more):
        raise AssertionError("an all-reduce beside the exchange")

    folder = RunFolder(config.out)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, world, index_file.load(config.data.path), folder)
    dist.all_to_all_single, dist.all_gather_into_tensor = counted_to_all, counted_gather
    dist.all_reduce = unexpected
    batches = iter(trainer.loader.batches(0))
    for _ in range(3):
        sent.clear() if trainer.seen == config.batch_size else None
        trainer.step(trainer.loader.to_device(next(batches), trainer.seen))
    return sent, sum(p.grad.nbytes for p in trainer.step.update.parameters())


@pytest.mark.parametrize(("size", "times"), [(2, 1.0), (3, 2.0), (4, 1.5)])
def test_gradients_are_exchanged_once_an_update(tmp_path, digits, size, times):
    """With a penalty and without; a ring's all-reduce sends 2 (size - 1) / size times the gradients."""
    config = config_of("--data", str(digits), "--out", str(tmp_path / "run"), "--batch_size", "16",
                       "--objective.group", "2", "--objective.penalty_every", "2")  # fmt: skip
    for sent, gradients in on_ranks(size, count_bytes, config):
        assert len(sent) > 4, "buckets"
        assert sum(sent) / 2 <= 1.001 * times * gradients + 100


@given(st.integers(1, 300), st.integers(1, 20))
def test_shares_are_the_slots_in_order(batch, size):
    parts = shares(batch, size)
    assert [slot for part in parts for slot in part] == list(range(batch))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 5))
def test_slots_are_those_of_whole_logical_workers(count, size, slots):
    size = min(size, count)
    found = [World(rank, size, CPU).slots(count * slots, count) for rank in range(size)]
    assert [slot for part in found for slot in part] == list(range(count * slots))
    assert all(part.start % slots == 0 for part in found)


def bad_data(world: World, config: Config) -> str:
    try:
        return f"{train(world, config)['bad']} bad"
    except UserError as error:
        return str(error)


def test_a_rank_without_data_ends_all_with_one_message(tmp_path, digits):
    """A shard that only one rank needs vanishes after the start: no hang, the same line everywhere."""
    import shutil

    data = tmp_path / "data"
    shutil.copytree(digits, data)
    options = [*TINY, "--data", str(data), "--out", str(tmp_path / "run"), "--samples", "1920"]
    config = config_of(*options)  # of a little more than an epoch
    # Cut short what the last shard says after its index was read: every sample of its second half is bad.
    tar = max(data.glob("*.tar"))
    content = bytearray(tar.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    tar.write_bytes(content)
    said = on_ranks(2, bad_data, config)
    assert said[0] == said[1]
    assert "--data.max_bad 0.001 allows 1" in said[0]
    assert on_ranks(2, bad_data, replace(config, data=replace(config.data, max_bad=1.0), out=str(tmp_path / "b")))[
        0
    ].endswith(" bad")
    meta = checkpoint.load_newest(tmp_path / "b" / "checkpoints", CPU)[0].meta
    assert len({(shard, sample) for shard, sample, _ in meta["bad"]}) > 50


def agree(world: World) -> list:
    found = [world.gather({"rank": world.rank, "text": "ä" * 10**world.rank}), world.broadcast(b"from 0")]
    found.append(world.broadcast(b"" if world.rank == 0 else None))
    return found


def test_collectives_of_the_host():
    for gathered, sent, nothing in on_ranks(3, agree):
        assert [each["rank"] for each in gathered] == [0, 1, 2]
        assert [len(each["text"]) for each in gathered] == [1, 10, 100]
        assert sent == b"from 0"
        assert nothing == b""
    assert ObjectiveOptions().group == 32


def other_data(world: World, *places: list[str]) -> list[str]:
    """What a rank says of each of these sets of places, one for each rank."""
    from ragdist.launch.on_ray import worker

    said = []
    for paths in places:
        try:
            worker.open_data(world, config_of("--data", paths[world.rank]))
            said.append("fine")
        except UserError as error:
            said.append(str(error))
    return said


def test_data_that_the_nodes_do_not_share_are_one_clear_error(digits, tmp_path):
    pytest.importorskip("ray")
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    write_shards("digits", tmp_path / "others", ShardOptions(seed=1))
    places = [[str(digits), str(tmp_path / name)] for name in ("nothing", "others")]
    missing, others = zip(*on_ranks(2, other_data, *places), strict=True)
    assert missing[0] == missing[1]
    assert missing[0].startswith("--data: on ")
    assert "no data folder" in missing[0]
    assert missing[0].endswith("give a path that all nodes share, or a URL")
    assert all("the nodes hold different data there" in line for line in others)
