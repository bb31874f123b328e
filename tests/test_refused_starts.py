"""A folder in which nothing was trained is nobody's; and what ends a run on one rank ends it on all, in one line."""

import errno
import json
import os
import resource
import shutil
from pathlib import Path

import pytest

from ragdist.config import settings
from ragdist.distributed.world import World
from ragdist.launch import local
from ragdist.runs import checkpoint
from ragdist.tools.errors import UserError
from tests.conftest import TINY
from tests.ranks import on_ranks
from tests.test_world import config_of, prepared


def run(cwd: Path, data: Path, *more: str, overwrite: bool = False) -> int:
    options = [*TINY, f"--data={data}", f"--out={cwd / 'run'}", "--samples=64", "--device=cpu", *more]
    return local.run(settings.parse(options, "test")[0], overwrite=overwrite)


def test_after_a_refused_start_any_other_is_welcome(tmp_path, digits):
    with pytest.raises(UserError, match="choose a smaller batch"):
        run(tmp_path, digits, "--batch_size=4096")
    assert not checkpoint.listed(tmp_path / "run/checkpoints")
    assert run(tmp_path, digits, "--batch_size=16") == 0
    with pytest.raises(UserError, match="another configuration"):
        run(tmp_path, digits, "--batch_size=32")


def test_what_a_start_left_that_was_killed_early_goes_and_what_is_the_users_stays(tmp_path, digits):
    assert run(tmp_path, digits) == 0
    folder = tmp_path / "run"
    shutil.rmtree(folder / "checkpoints")  # as if it had been killed before the first
    for name in ("generator.safetensors", "summary.json"):
        (folder / name).unlink()
    for name in ("notes.txt", "samples/mine.png", "checkpoints.bak"):
        (folder / name).write_text("mine")
    (folder / "samples/samples-000000000048.png").touch()
    assert run(tmp_path, digits, "--batch_size=16") == 0
    assert not (folder / "samples/samples-000000000048.png").exists()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["samples"] == 16
    assert all((folder / name).read_text() == "mine" for name in ("notes.txt", "samples/mine.png", "checkpoints.bak"))


@pytest.mark.parametrize("content", ["model: resnet\n", "- 1\n"])
def test_a_folder_with_a_configuration_of_another_program_is_not_touched(tmp_path, digits, content):
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    theirs = {"config.yaml": content, "events.out.tfevents.1": "curves", "metrics.jsonl": "figures\n"}
    for name, text in theirs.items():
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        run(tmp_path, digits, "--config=digits")
    assert {name: (folder / name).read_text() for name in theirs} == theirs


def test_a_generator_without_checkpoints_is_somebodys(tmp_path, digits):
    assert run(tmp_path, digits) == 0
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(UserError, match="another configuration"):
        run(tmp_path, digits, "--batch_size=16")
    assert (tmp_path / "run/generator.safetensors").is_file()
    assert run(tmp_path, digits, "--batch_size=16", overwrite=True) == 0


def saves(world: World, config, stop_at: int) -> list[int]:
    """Samples seen at each checkpoint that is written."""
    trainer, monitor = prepared(world, config)
    written = []
    if monitor:
        trainer.folder.saved = lambda: written.append(trainer.seen)
    trainer.train(monitor, lambda: trainer.seen >= stop_at)
    return written


def test_a_stop_at_a_due_checkpoint_writes_it_once(tmp_path, digits):
    config = config_of(*TINY, "--data", str(digits), "--out", str(tmp_path / "run"), "--checkpoint.every", "64")
    assert on_ranks(2, saves, config, 96) == [[64, 128], []]


def fails(world: World, config, how: str) -> str:
    """What a rank says where rank 0 alone cannot write."""
    trainer, monitor = prepared(world, config)
    if monitor and how == "checkpoint":
        trainer.folder.fence = fail
    if monitor and how == "any file":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        return str(trainer.train(monitor))
    except UserError as error:
        return str(error)


def fail() -> None:
    raise OSError(errno.EUCLEAN, os.strerror(errno.EUCLEAN))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("checkpoint", "cannot write a checkpoint: OSError: [Errno 117] Structure needs cleaning"),
        ("any file", "a file grew to the size that the system allows (ulimit -f): raise that"),
    ],
)
def test_what_rank_0_cannot_write_ends_all_with_one_line(tmp_path, digits, how, says):
    options = ["--samples", "6400", "--checkpoint.every", "1600", "--monitor.seconds", "0.001"]
    config = config_of(*TINY, "--data", str(digits), "--out", str(tmp_path / "run"), *options)
    said = on_ranks(2, fails, config, how)
    assert said[0] == said[1]
    assert said[0].startswith("cannot write")
    assert said[0].endswith(says)
