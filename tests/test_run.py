"""Runs as a user has them: real processes, killed, stopped, continued, extended, refused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import torch

from ragdist.config import settings
from ragdist.generation import generator_file
from ragdist.launch import local
from ragdist.tools.errors import UserError
from ragdist.training.step import TrainingStep
from tests.conftest import TINY, begin, command, refused
from tests.fork_server import Command

TRAIN = "ragdist.train"
HANGS = 240  # seconds after which nothing is slow any more


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def train(cwd: Path, data: Path, out: str, *more: str, samples: int = 6400, **environment: str):
    return command(
        TRAIN, *TINY, f"--data={data}", f"--out={out}", f"--samples={samples}", *more, cwd=cwd, **environment
    )


def start(cwd: Path, data: Path, out: str, *more: str, samples: int) -> Command:
    return begin(TRAIN, *TINY, f"--data={data}", f"--out={out}", f"--samples={samples}", *more, cwd=cwd)


def wait_for(condition, seconds: float = HANGS) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits) -> Path:
    """An undisturbed run, with its checkpoints and pictures."""
    cwd = tmp_path_factory.mktemp("finished")
    as_usual = ["--data.loader_workers=1", "--monitor.grid_every=0", "--monitor.tensorboard=true"]
    result = train(cwd, digits, "run", "--checkpoint.every=1600", "--network.labels=true", *as_usual)
    assert result.returncode == 0, result.stderr
    return cwd / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits) -> Path:
    """An undisturbed run of 9,600 samples that keeps a checkpoint for each 320: what every other is held against."""
    cwd = tmp_path_factory.mktemp("whole")
    options = ["--checkpoint.every=320", "--checkpoint.keep=30"]
    result = train(cwd, digits, "run", *options, samples=9600)
    assert result.returncode == 0, result.stderr
    return cwd / "run"


def undisturbed(whole: Path, samples: int) -> dict:
    """The state of that run after so many samples."""
    return torch.load(whole / f"checkpoints/samples-{samples:012d}/state.pt", weights_only=True)


def weights(whole: Path, samples: int) -> str:
    """The checksum that a run of so many samples has in its summary."""
    return generator_file.weights_sha256(undisturbed(whole, samples)["ema"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits) -> Path:
    """A run of 1,280 samples with two checkpoints."""
    cwd = tmp_path_factory.mktemp("trained")
    result = train(cwd, digits, "run", "--checkpoint.every=640", samples=1280)
    assert result.returncode == 0, result.stderr
    return cwd / "run"


@pytest.fixture
def run(tmp_path, trained) -> Path:
    """A copy of it, ``run`` in ``tmp_path``."""
    return shutil.copytree(trained, tmp_path / "run")


def test_what_a_run_leaves(finished):
    names = [path.name for path in sorted((finished / "checkpoints").iterdir())]
    assert names == ["samples-000000003200", "samples-000000004800", "samples-000000006400"]
    said = summary(finished)
    assert said["samples"] == 6400
    assert said["samples_per_second"] == pytest.approx(6400 / said["seconds"], rel=0.01)
    assert set(said["losses"]) == {"loss_g", "loss_d", "relative_distance"}
    assert len(said["weights_sha256"]) == 64
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["samples"] == 6400
    assert {"loss_g", "loss_d", "logit_real", "logit_fake", "relative_distance", "lam", "grad_norm_g", "grad_norm_d",
            "skipped", "samples_per_second", "data_wait_share", "step_seconds", "coverage"} <= set(rows[-1])  # fmt: skip
    assert (finished / "samples" / "course.png").stat().st_size > 1000


def test_a_run_starts_without_what_it_does_not_need(tmp_path, digits):
    """What torch.compile needs, and torchvision's models: each would take as long to import as PyTorch does."""
    code = "import sys; from ragdist.train import main; main(sys.argv[1:]); print(*sys.modules)"
    arguments = [*TINY, f"--data={digits}", "--out=run", "--samples=64"]
    result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    modules = result.stdout.splitlines()[-1].split()
    assert "torch" in modules
    assert not {"torch._dynamo", "torchvision", "sympy"} & set(modules)


def test_a_checkpoint_loads_with_weights_only(finished):
    state = torch.load(finished / "checkpoints/samples-000000006400/state.pt", weights_only=True)
    assert list(state)[:5] == ["generator", "discriminator", "ema", "g_optim", "d_optim"]
    assert state["samples"] == 6400


def test_tensorboard_reads_all_of_it(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    for tag in ("loss/loss_g", "loss/loss_d", "relative/lam", "gradients/grad_norm_g", "run/data_wait_share"):
        assert tag in tags["scalars"]
    assert {"samples", "course"} <= set(tags["images"])
    assert "config/text_summary" in tags["tensors"]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert [e.step for e in events.Scalars("loss/loss_g")][-1] == 6400
    assert events.Images("samples")[0].step == 0


def test_three_kills_at_random_moments_leave_the_same_weights(tmp_path, digits, whole):
    """SIGKILL to the whole process group, whatever it is doing; the same command ends with the same bits."""
    options = ["--checkpoint.every=320", "--monitor.grid_every=640", "--data.loader_workers=1"]
    samples = 9600
    chance = random.Random(7)
    checkpoints = tmp_path / "killed" / "checkpoints"
    for kill in range(3):
        process = start(tmp_path, digits, "killed", *options, samples=samples)
        seen = set(checkpoints.glob("samples-*"))
        wait_for(lambda seen=seen: set(checkpoints.glob("samples-*")) - seen)
        time.sleep(chance.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        output = "".join(process.communicate())
        assert process.returncode == -signal.SIGKILL, output
        assert ("continuing from" in output) == (kill > 0)
    assert not (tmp_path / "killed" / "summary.json").exists()
    last = train(tmp_path, digits, "killed", *options, samples=samples)
    assert last.returncode == 0, last.stderr
    assert "continuing from" in last.stdout
    assert summary(tmp_path / "killed")["weights_sha256"] == summary(whole)["weights_sha256"]
    assert equal(undisturbed(tmp_path / "killed", samples), undisturbed(whole, samples))
    lines = [json.loads(line)["samples"] for line in (tmp_path / "killed/metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines)), "a stretch that was computed twice is logged once"


def test_several_threads_continue_with_the_same_bits(tmp_path, digits):
    """Elsewhere here a process computes with one thread."""
    for out, lengths in (("at once", [1280]), ("in parts", [640, 1280])):
        for samples in lengths:
            options = [*TINY, f"--data={digits}", f"--out={out}", f"--samples={samples}"]
            result = command(TRAIN, *options, cwd=tmp_path, OMP_NUM_THREADS="2")
            assert result.returncode == 0, result.stderr
    weights = {summary(tmp_path / out)["weights_sha256"] for out in ("at once", "in parts")}
    assert len(weights) == 1


def test_nothing_outlives_a_killed_trainer(tmp_path, digits, monkeypatch):
    """SIGKILL to the trainer alone: its loader processes notice."""
    import psutil

    monkeypatch.setenv("RAGDIST_TEST_COLD", "1")  # else they are not below it
    process = start(tmp_path, digits, "run", "--data.loader_workers=2", samples=10_000_000)
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text())
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=HANGS)
    for left in alive:
        left.kill()
    assert not alive


def equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_loader_workers_do_not_change_the_run(tmp_path, digits):
    found = set()
    for workers in (0, 1, 3):
        options = [f"--data.loader_workers={workers}", "--data.crop_padding=2", "--data.flip=true"]
        result = train(tmp_path, digits, f"w{workers}", *options, samples=1600)
        assert result.returncode == 0, result.stderr
        found.add(summary(tmp_path / f"w{workers}")["weights_sha256"])
    assert len(found) == 1


def test_ctrl_c_stops_cleanly_and_the_same_command_continues(tmp_path, digits, whole):
    process = start(tmp_path, digits, "stopped", "--data.loader_workers=1", samples=9600)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loader process gets it too
    output = "".join(process.communicate(timeout=HANGS))
    assert process.returncode == 130, output
    assert "stopped at" in output
    assert "Traceback" not in output
    assert list((tmp_path / "stopped/checkpoints").glob("samples-*"))
    assert train(tmp_path, digits, "stopped", samples=9600).returncode == 0
    assert summary(tmp_path / "stopped")["weights_sha256"] == summary(whole)["weights_sha256"]


def test_a_finished_run_says_so_and_a_larger_number_extends_it(tmp_path, digits, whole):
    for samples in (1600, 1600, 3200):
        result = train(tmp_path, digits, "run", samples=samples)
        assert result.returncode == 0, result.stderr
        assert ("is finished" in result.stdout) == (samples == 1600 and "continuing" in result.stdout)
    assert "is finished" not in result.stdout
    # Killed between its last checkpoint and its summary: the same command still writes it.
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "samples" / "course.png").unlink()
    (tmp_path / "run" / "generator.safetensors").unlink()
    assert train(tmp_path, digits, "run", samples=3200).returncode == 0
    assert summary(tmp_path / "run")["samples"] == 3200
    assert (tmp_path / "run" / "samples" / "course.png").is_file()
    exported = generator_file.load(tmp_path / "run" / "generator.safetensors", torch.device("cpu"))
    assert exported.about["weights_sha256"] == summary(tmp_path / "run")["weights_sha256"]
    # Without --config the run's own configuration is the base.
    again = command(TRAIN, "--out=run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "is finished: 3,200 images" in again.stdout
    assert summary(tmp_path / "run")["weights_sha256"] == weights(whole, 3200)


def test_another_configuration_is_refused_and_overwrite_starts_anew(tmp_path, digits, run):
    line = refused(train(tmp_path, digits, "run", "--objective.lam=3", "--optim.g_lr=1e-3", samples=1280))
    assert "objective.lam 1.0 -> 3.0" in line
    assert "optim.g_lr 0.0005 -> 0.001" in line
    # What does not decide the weights may change.
    assert (
        train(tmp_path, digits, "run", "--monitor.seconds=1", "--data.loader_workers=2", samples=1280).returncode == 0
    )
    keep = run / "notes.txt"
    keep.write_text("mine")
    result = train(tmp_path, digits, "run", "--objective.lam=3", "--overwrite", samples=640)
    assert result.returncode == 0, result.stderr
    assert "continuing" not in result.stdout
    assert keep.read_text() == "mine"


def test_other_data_are_refused(tmp_path, run):
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    write_shards("digits", tmp_path / "other", ShardOptions(seed=1))
    assert "other data" in refused(train(tmp_path, tmp_path / "other", "run", samples=1920))


def test_a_run_in_use_is_refused(tmp_path, digits):
    process = start(tmp_path, digits, "run", samples=10_000_000)
    try:
        wait_for(lambda: (tmp_path / "run" / "config.yaml").exists())
        assert f"in use by process {process.pid}" in refused(train(tmp_path, digits, "run"))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("damage", ["cut", "flip", "manifest", "empty"])
def test_a_broken_checkpoint_is_named_and_skipped(tmp_path, digits, run, whole, damage):
    newest = run / "checkpoints/samples-000000001280"
    state = newest / "state.pt"
    content = state.read_bytes()
    if damage == "cut":
        state.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        state.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif damage == "manifest":
        (newest / "manifest.json").write_text("{")
    else:
        for file in newest.iterdir():
            file.unlink()
    result = train(tmp_path, digits, "run", "--checkpoint.every=640", samples=1920)
    assert result.returncode == 0, result.stderr
    assert "skipped a broken checkpoint, run/checkpoints/samples-000000001280" in result.stdout
    assert "continuing from run/checkpoints/samples-000000000640" in result.stdout
    assert summary(run)["weights_sha256"] == weights(whole, 1920)


def test_when_no_checkpoint_is_whole_nothing_is_started_over(tmp_path, digits, run):
    for samples in (640, 1280):
        (run / f"checkpoints/samples-{samples:012d}/state.pt").write_bytes(b"")
    assert "no checkpoint is whole" in refused(train(tmp_path, digits, "run", samples=1920))


def test_a_checkpoint_of_another_format_is_refused(tmp_path, digits, run):
    import hashlib

    folder = run / "checkpoints/samples-000000001280"
    meta = json.loads((folder / "meta.json").read_text()) | {"version": 99}
    (folder / "meta.json").write_text(json.dumps(meta))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["meta.json"] = hashlib.sha256((folder / "meta.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "version 99" in refused(train(tmp_path, digits, "run", samples=1920))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, digits):
    """A file system of its own, too small for the run: it stops with one line, and continues once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here (not root)")
    try:
        options = ["--network.g_width=128", "--network.d_width=128", "--checkpoint.every=640", "--checkpoint.keep=50"]
        line = refused(train(tmp_path, digits, str(disk / "run"), *options, samples=64000))
        assert "the disk is full" in line
        left = sorted((disk / "run/checkpoints").iterdir())
        assert left, "there was room for some"
        assert not [path for path in left if path.name.startswith(".")]
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        further = int(left[-1].name.partition("-")[2]) + 3200
        result = train(tmp_path, digits, str(disk / "run"), *options, samples=further)
        assert result.returncode == 0, result.stderr
        assert f"continuing from {left[-1]}" in result.stdout
    finally:
        subprocess.run(["umount", disk], check=True)


def test_updates_that_are_not_finite_are_skipped_counted_and_end_the_run(tmp_path, digits):
    """A learning rate that throws the weights out of float32."""
    line = refused(
        train(tmp_path, digits, "run", "--optim.g_lr=1e30", "--optim.d_lr=1e30", "--monitor.seconds=0.01",
              "--optim.max_skipped=20", "--checkpoint.every=320", samples=64000)
    )  # fmt: skip
    assert "not finite" in line
    assert "with lower --optim.g_lr" in line
    newest = sorted((tmp_path / "run/checkpoints").iterdir())[-1]
    state = torch.load(newest / "state.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["generator"].values())


def anonymous_memory(pid: int) -> int:
    """Its own and shared, in KiB, without pages of files."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem")))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell what kind of memory it is")
def test_memory_does_not_grow(tmp_path, digits):
    """The training process's own, without pages of files, which come and go: the median of 300 updates, at both ends.

    The median, because what is freed in between is given back to the system and taken again at moments of its own.
    Updates are as small as they can be: it is their number that counts.
    """
    b = 8
    options = [f"--batch_size={b}", f"--objective.group={b}", "--monitor.seconds=0.2", "--monitor.tensorboard=true",
               f"--monitor.grid_every={b * 160}", f"--checkpoint.every={b * 250}", "--data.loader_workers=1"]  # fmt: skip
    process = start(tmp_path, digits, "run", *options, samples=1250 * b)
    metrics = tmp_path / "run" / "metrics.jsonl"
    found = {250: [], 950: []}
    try:
        while process.poll() is None:
            whole = metrics.read_text().split("\n")[:-1] if metrics.exists() else []  # the last may be half written
            samples = json.loads(whole[-1])["samples"] if whole else 0
            for update, sizes in found.items():
                if update * b <= samples < (update + 300) * b and (now := anonymous_memory(process.pid)):
                    sizes.append(now)
            time.sleep(0.05)
        output = "".join(process.communicate(timeout=HANGS))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    assert median(found[950]) <= 1.006 * median(found[250])  # 3 KB an update


def test_too_little_memory_is_one_line(tmp_path, digits, monkeypatch):
    """Here as a GPU's would be, whose allocator says so."""

    def step(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")

    monkeypatch.setattr(TrainingStep, "__call__", step)
    config, _ = settings.parse([*TINY, f"--data={digits}", f"--out={tmp_path / 'run'}", "--device=cpu"], "test")
    with pytest.raises(UserError, match=r"^the memory of cpu ran out: try --optim.micro_batch, a smaller --batch_size"):
        local.run(config, overwrite=False)
