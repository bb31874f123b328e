"""Loader processes that die, or cannot deliver: one line, a checkpoint, the same batches."""

import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from ragdist.config.run import DataOptions
from ragdist.data import index as index_file
from ragdist.data.loader_processes import make_loader
from ragdist.data.order import Order
from ragdist.data.reader import BadSample, ShardReader, SlotDataset, Updates
from ragdist.data.shard_files import ShardFiles
from ragdist.distributed.world import World
from ragdist.runs import checkpoint
from ragdist.tools.errors import Unreachable, UserError
from tests.conftest import TINY, begin
from tests.ranks import on_ranks
from tests.test_world import config_of, prepared, train

pytestmark = pytest.mark.usefixtures("warm_processes")
HANGS = 240  # seconds after which nothing is slow any more
BATCH = 16


def loader(data: Path, workers: int, *, updates: int = 20, say=print):
    index = index_file.load(data)
    order = Order([shard.samples for shard in index.shards], index.digest, 0, 4, 64)
    slots = range(BATCH)
    dataset = SlotDataset(ShardReader(ShardFiles(data, index)), order, 3, 4, BATCH, slots, DataOptions())
    return make_loader(dataset, Updates(0, updates * BATCH, BATCH), workers=workers, prefetch=2, pin=False, say=say)


@pytest.mark.parametrize(
    ("number", "says"), [(signal.SIGKILL, "killed (SIGKILL)"), (signal.SIGSEGV, "ended by SIGSEGV")]
)
def test_a_process_that_dies_is_named(digits, number, says):
    batches = loader(digits, 1, updates=1000)
    next(batches)
    (process,) = multiprocessing.active_children()
    os.kill(process.pid, number)
    *_, last = batches
    assert isinstance(last, Unreachable)
    assert str(last).startswith(f"a loader process was {says}")


HALF_SENT = """
import multiprocessing, resource, time, torch
from ragdist.data.loader_processes import make_loader
from ragdist.data.reader import Slots

class Large:
    def __getitem__(self, first):
        return Slots(torch.zeros(100_000), torch.zeros(1), torch.zeros(1), [])

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))  # batches go through pipes, which take 64 kB at a time
    batches = make_loader(Large(), range(100), workers=2, prefetch=2, pin=False)
    next(batches)
    time.sleep(0.5)
    multiprocessing.active_children()[0].kill()
    *_, last = batches
    print(type(last).__name__, last)
"""


def test_a_process_that_dies_while_it_sends_a_batch_is_named(tmp_path):
    (tmp_path / "half_sent.py").write_text(HALF_SENT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [sys.executable, tmp_path / "half_sent.py"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nUnreachable a loader process was killed (SIGKILL)" in result.stdout


def test_with_few_open_files_the_training_process_reads(digits):
    said, limits = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (65, limits[1]))
    try:
        found = list(loader(digits, 3, say=said.append))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(found, loader(digits, 0), strict=True))
    (line,) = said
    assert line.startswith(
        "no loader processes can be started (too many open files: this system lets a process have 65"
    )


def test_a_shard_that_is_cut_while_it_is_read_has_bad_samples(tmp_path, digits):
    """From a map of the file this would end the process by SIGBUS."""
    shutil.copytree(digits, tmp_path / "data")
    index = index_file.load(tmp_path / "data")
    reader = ShardReader(ShardFiles(tmp_path / "data", index))
    assert not isinstance(reader.read(0, 0), BadSample)
    os.truncate(tmp_path / "data" / index.shards[0].name, 4096)
    assert "its shard was cut off since it was indexed" in str(reader.read(0, index.shards[0].samples - 1))


def options(data: Path, *more: str) -> list[str]:
    return [*TINY, f"--data={data}", "--out=run", "--data.loader_workers=2", *more]


def begun(cwd: Path, data: Path, monkeypatch):
    """A run without end in a group of its own, which has made updates; its processes are its children."""
    monkeypatch.setenv("RAGDIST_TEST_COLD", "1")
    process = begin("ragdist.train", *options(data, "--samples=100_000_000"), cwd=cwd)
    metrics, end = cwd / "run/metrics.jsonl", time.monotonic() + HANGS
    while not (metrics.exists() and metrics.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_stops_all_of_a_run_leaves_a_checkpoint(tmp_path, digits, monkeypatch, number):
    """As `timeout`, batch systems and a closed terminal send it: the loaders and Python's own helpers hear it, too."""
    process = begun(tmp_path, digits, monkeypatch)
    assert len(psutil.Process(process.pid).children(recursive=True)) >= 3
    os.killpg(process.pid, number)
    os.killpg(process.pid, number)
    out, err = process.communicate(HANGS)
    assert (process.returncode, err) == (130, "")
    assert checkpoint.listed(tmp_path / "run/checkpoints")
    assert "the same command continues" in out


def test_a_loader_that_is_killed_leaves_a_checkpoint(tmp_path, digits, monkeypatch):
    process = begun(tmp_path, digits, monkeypatch)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if psutil.Process(process.pid) not in (child.parent(), child)).kill()
    _, err = process.communicate(HANGS)
    assert process.returncode == 2
    assert re.fullmatch(r"error: a loader process was killed \(SIGKILL\), .*\n", err)
    assert checkpoint.listed(tmp_path / "run/checkpoints")
    assert not psutil.wait_procs(children, timeout=HANGS)[1]


@pytest.mark.parametrize(
    ("shared_memory", "says"),
    [
        ("size=96k", r"^batches do not get into shared memory \(/dev/shm: No space left .*--shm-size"),
        ("ro", r"^no loader processes can be started \(Read-only file system; .*/dev/shm"),
    ],
)
def test_too_little_shared_memory_is_a_matter_of_speed(tmp_path, digits, shared_memory, says):
    """As containers have it."""
    with_less = f'mount -t tmpfs -o {shared_memory} tmpfs /dev/shm && exec "$@"'
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("cannot have a mount of its own here (not root)")
    argv = ["unshare", "-m", "sh", "-c", with_less, "sh", sys.executable, "-m", "ragdist.train"]
    argv += options(digits, "--samples=5120", "--batch_size=512", "--network.z_dim=64", "--data.prefetch=16")
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(says, result.stdout, re.MULTILINE)


def loses_a_loader(world: World, config) -> str:
    def stop() -> bool:
        calls.append(1)
        if world.rank == 1 and len(calls) == 5:
            for process in multiprocessing.active_children():
                process.kill()
        return False

    calls = []
    trainer, monitor = prepared(world, config)
    try:
        return str(trainer.train(monitor, stop))
    except UserError as error:
        return str(error)


def test_a_loader_of_one_rank_ends_all_with_one_line_and_a_checkpoint(tmp_path, digits):
    run, place = tmp_path / "run", ["--data", str(digits), "--samples", "640"]
    config = config_of(*TINY, *place, "--out", str(run))
    config = replace(config, data=replace(config.data, loader_workers=1, prefetch=1))
    said = on_ranks(2, loses_a_loader, config)
    assert said[0] == said[1]
    assert said[0].startswith("a loader process was killed (SIGKILL)")
    (left,) = checkpoint.listed(run / "checkpoints")
    assert 0 < checkpoint.seen_at(left) < 640
    whole = config_of(*TINY, *place, "--out", str(tmp_path / "whole"))
    continued, undisturbed = (on_ranks(2, train, each)[0]["sha"] for each in (config, whole))
    assert continued == undisturbed
