"""Runs whose --out is an object store, behind a real S3-compatible server."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from ragdist.config import settings
from ragdist.launch.session import tensorboard
from ragdist.runs import checkpoint
from ragdist.runs.local_copy import local_copy
from ragdist.runs.mirror import Mirror, RemoteFolder
from ragdist.runs.remote import RemoteRun
from ragdist.storage import store
from ragdist.tools.errors import UserError
from tests.conftest import TINY, begin, command, refused
from tests.servers import Gate, free_port, s3_client

TRAIN = "ragdist.train"
HANGS = 240  # seconds after which nothing is slow any more


def names(run: str) -> list[str]:
    return RemoteFolder(f"s3://bucket/{run}").list()


def train(cwd: Path, data: Path, out: str, *more: str, samples: int = 3200):
    return command(TRAIN, *TINY, f"--data={data}", f"--out={out}", f"--samples={samples}", *more, cwd=cwd)


def config_of(out: str, *more: str):
    return settings.parse([*TINY, "--out", out, *more], "test")[0]


def test_a_killed_run_goes_on_from_the_store(s3, tmp_path, digits):
    """SIGKILL, then the same command, on a machine that has nothing of the run; the same bits as on a disk."""
    options = ["--checkpoint.every=640"]
    undisturbed = train(tmp_path, digits, "whole", *options, samples=9600)
    assert undisturbed.returncode == 0, undisturbed.stderr
    arguments = [*TINY, f"--data={digits}", "--out=s3://bucket/killed", "--samples=9600", *options]
    process = begin("tests.impatient", TRAIN, *arguments, cwd=tmp_path)
    end = time.monotonic() + HANGS
    while not any(name.endswith("manifest.json") for name in names("killed")):
        assert time.monotonic() < end, process.communicate(timeout=10)
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = command("tests.impatient", TRAIN, *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "is locked by process" in again.stdout
    assert "continuing from s3://bucket/killed/checkpoints/samples-" in again.stdout
    found = names("killed")
    assert "summary.json" in found
    assert "samples/course.png" in found
    assert "lock" not in found
    kept = {name.split("/")[1] for name in found if name.startswith("checkpoints/")}
    assert sorted(kept) == [f"samples-{samples:012d}" for samples in (8320, 8960, 9600)]
    whole = json.loads((tmp_path / "whole" / "summary.json").read_text())
    mine = json.loads(RemoteFolder("s3://bucket/killed").read("summary.json"))
    assert mine["weights_sha256"] == whole["weights_sha256"]
    finished = train(tmp_path, digits, "s3://bucket/killed", *options, samples=9600)
    assert "is finished: 9,600 images" in finished.stdout
    line = refused(train(tmp_path, digits, "s3://bucket/killed", "--objective.lam=3", samples=9600))
    assert "objective.lam 1.0 -> 3.0" in line


def test_mistakes_get_one_line(s3, tmp_path, digits):
    line = refused(train(tmp_path, digits, "s3://no-such-bucket/run"))
    assert "s3://no-such-bucket/run: there is no such bucket" in line
    line = refused(train(tmp_path, digits, "http://127.0.0.1:9/run"))
    assert "nothing can be written there" in line


def test_a_run_in_a_store_is_drawn_and_judged_as_it_is(s3, tmp_path, digits):
    """By the commands that read runs, from the URL of the run or of its generator, over http, too."""
    result = train(tmp_path, digits, "s3://bucket/seen", samples=640)
    assert result.returncode == 0, result.stderr
    remote = RemoteFolder("s3://bucket/seen")
    for name in ("generator.safetensors", "config.yaml"):
        remote.get(name, tmp_path / "seen" / name)
    file = "bucket/seen/generator.safetensors"
    public = f"{s3['AWS_ENDPOINT_URL']}/open/seen.safetensors"
    s3_client(s3).upload_file(str(tmp_path / "seen" / "generator.safetensors"), "open", "seen.safetensors")
    grids = {}
    for i, where in enumerate(["seen", "s3://bucket/seen", f"s3://{file}", public]):
        drawn = command("ragdist.generate", where, f"--out={i}.png", cwd=tmp_path)
        assert drawn.returncode == 0, drawn.stderr
        grids[where] = (tmp_path / f"{i}.png").read_bytes()
    assert len(set(grids.values())) == 1

    few = ["--samples=300", "--features=pixels", "--metrics=frechet,kid", f"--cache={tmp_path / 'cache'}"]
    found = {}
    for where, out in (
        ("seen", "seen"),
        ("s3://bucket/seen/", "seen-evaluation"),
        (f"s3://{file}", "seen-generator-evaluation"),
    ):
        result = command("ragdist.evaluate", where, *few, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        content = json.loads((tmp_path / out / "evaluation.json").read_text())
        found[content["judged"]["path"]] = content["figures"]
    assert list(found) == ["seen/generator.safetensors", f"s3://{file}"]
    one, other = found.values()
    assert one == other
    assert "Over the training" in (tmp_path / "seen-evaluation/evaluation.html").read_text()


def test_tensorboard_reads_a_run_by_the_command_that_it_prints(s3, tmp_path, digits):
    result = train(tmp_path, digits, "s3://bucket/curves", "--monitor.tensorboard=true", samples=640)
    assert result.returncode == 0, result.stderr
    printed = re.search(r"^TensorBoard:  tensorboard (--logdir s3://bucket/curves)$", result.stdout, re.M)
    argv = [sys.executable, "-m", "tensorboard.main", *printed[1].split(), f"--port={free_port()}"]
    board = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    try:
        while not (said := re.search(r"at (http://\S+)", line := board.stderr.readline())):
            assert line, "it ended"
        tags, end = {}, time.monotonic() + HANGS
        while "loss/loss_g" not in tags.get(".", {}):
            assert time.monotonic() < end, tags
            time.sleep(0.2)
            with urllib.request.urlopen(f"{said[1]}data/plugin/scalars/tags") as answer:
                tags = json.load(answer)
    finally:
        board.kill()
        board.communicate()


def test_what_tensorboard_needs_is_said_where_it_is_missing(monkeypatch):
    assert tensorboard("runs/a") == "tensorboard --logdir runs/a"
    assert tensorboard("s3://bucket/a") == "tensorboard --logdir s3://bucket/a"
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert tensorboard("s3://bucket/a") == "tensorboard --logdir s3://bucket/a   (first: pip install boto3)"


def test_what_is_not_in_a_store_is_one_line(s3, tmp_path):
    for kind in ("generate", "evaluate"):
        assert "there is no run at s3://bucket/nothing" in refused(
            command(f"ragdist.{kind}", "s3://bucket/nothing", cwd=tmp_path)
        )
        line = refused(command(f"ragdist.{kind}", "s3://no-such-bucket/g.safetensors", cwd=tmp_path))
        assert "there is no file at s3://no-such-bucket/g.safetensors" in line
        assert "a path, or a URL that starts with" in refused(
            command(f"ragdist.{kind}", "ftp://host/run", cwd=tmp_path)
        )


def test_a_file_that_is_replaced_meanwhile_is_fetched_again(s3, monkeypatch):
    """A run that goes on replaces its generator at every checkpoint; a large one is fetched in parts."""
    remote, part, parts = RemoteFolder("s3://bucket/replaced"), store._part, []
    old, new = bytes(store.CHUNK + 10), b"n" * (store.CHUNK + 10)
    remote.write("generator.safetensors", old)

    def replacing(*of):
        parts.append(part(*of))
        if len(parts) == 1:
            remote.write("generator.safetensors", new)
        return parts[-1]

    monkeypatch.setattr(store, "_part", replacing)
    with local_copy("s3://bucket/replaced", "generator.safetensors") as folder:
        assert (folder / "generator.safetensors").read_bytes() == new
    assert [part[:1] for part in parts] == [b"\0", b"n", b"n", b"n"]  # first it was half of each


def test_of_a_copy_messages_name_the_url(s3, tmp_path, digits):
    remote = RemoteFolder("s3://bucket/odd")
    remote.write("config.yaml", settings.dumps(config_of("odd", f"--data={digits}")).encode())
    for kind in ("generate", "evaluate"):
        line = refused(command(f"ragdist.{kind}", "s3://bucket/odd", cwd=tmp_path))
        assert "s3://bucket/odd holds no generator.safetensors: it appears with the run's first checkpoint" in line
    remote.write("generator.safetensors", b"rubbish")
    for where in ("s3://bucket/odd", "s3://bucket/odd/generator.safetensors"):
        for kind in ("generate", "evaluate"):
            line = refused(command(f"ragdist.{kind}", where, cwd=tmp_path))
            assert "s3://bucket/odd/generator.safetensors is damaged" in line


def save(folder, samples: int, keep: int) -> None:
    folder.before_saving()
    state = {"weights": torch.full((10,), float(samples))}
    checkpoint.save(folder.checkpoints, samples, state, {"samples": samples}, keep=keep)
    folder.saved()


def test_a_checkpoint_that_is_saved_during_an_upload_is_uploaded_although_the_run_ends_by_an_error(s3, tmp_path):
    """As where a sample is damaged: a checkpoint is written, and then the error is raised."""
    remote, begun, go = RemoteFolder("s3://bucket/ends-by-error"), threading.Event(), threading.Event()

    class Slow(RemoteFolder):
        def put(self, local: Path, name: str) -> None:
            if name == "metrics.jsonl":
                begun.set()
                go.wait()
            super().put(local, name)

    local = tmp_path / "run"
    mirror = Mirror(Slow(remote.url), local, 2)
    mirror.pull()
    (local / "metrics.jsonl").write_text("")

    def train_on() -> None:
        with mirror.following():
            mirror._now.set()
            assert begun.wait(HANGS)
            save(mirror.folder, 100, 2)
            threading.Timer(0.2, go.set).start()
            raise UserError("a sample is damaged")

    with pytest.raises(UserError, match="damaged"):
        train_on()
    assert "checkpoints/samples-000000000100/manifest.json" in remote.list()
    assert not mirror.behind


def test_what_cannot_be_uploaded_while_a_run_goes_on_is_kept(s3, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ragdist.storage.retry.ATTEMPTS", 1)
    gate = Gate(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")

    def train_on(ends: Exception | None = None) -> None:
        with RemoteRun("s3://bucket/kept").opened(config_of("s3://bucket/kept")) as folder:
            gate.shut()
            save(folder, 100, 2)
            if ends:
                raise ends
            save(folder, 200, 2)  # it waits for the first, and is told

    with pytest.raises(UserError, match="what was not uploaded is in") as raised:
        train_on()
    gate.open()
    with pytest.raises(ZeroDivisionError):
        train_on(ZeroDivisionError())
    for said in (str(raised.value), capsys.readouterr().err.strip()):
        kept = Path(said.rpartition(" is in ")[2])
        assert (kept / "checkpoints/samples-000000000100/manifest.json").is_file()
        shutil.rmtree(kept)


def test_a_store_that_is_away_for_a_while_costs_nothing(s3, tmp_path, digits, monkeypatch):
    """Uploads are tried again, and the training goes on meanwhile, past a checkpoint."""
    gate = Gate(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    store = s3_client(s3)  # beside the gate
    size = ["--samples=6400", "--checkpoint.every=3200", "--monitor.seconds=0.1"]
    arguments = [*TINY, f"--data={digits}", "--out=s3://bucket/away", *size]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = begin(TRAIN, *arguments, cwd=tmp_path)
    end = time.monotonic() + HANGS
    while b"images  L_G" not in process.outputs[0].read:
        assert process.poll() is None, process.communicate(timeout=10)
        assert time.monotonic() < end
        time.sleep(0.05)
    gate.shut()
    shut, end = time.time(), time.monotonic() + HANGS
    before = None  # what was said when the training came to the checkpoint
    while before is None or not re.search(rb"bucket/away/.*attempt [3-8] of", process.outputs[1].read[before:]):
        if before is None and list(tmp_path.glob("ragdist-run-*/checkpoints/samples-000000003200")):
            before = len(process.outputs[1].read)
        assert process.poll() is None, process.communicate(timeout=10)
        assert time.monotonic() < end
        time.sleep(0.05)
    gate.open()
    opened = time.time()
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == 0, out + err
    gate.shut()
    metrics = store.get_object(Bucket="bucket", Key="away/metrics.jsonl")["Body"].read()
    rows = [json.loads(line) for line in metrics.splitlines()]
    assert any(row["samples"] > 3200 and shut < row["time"] < opened for row in rows)
    there = [found["Key"] for found in store.list_objects(Bucket="bucket", Prefix="away/checkpoints/")["Contents"]]
    whole = [name.split("/")[2] for name in there if name.endswith("/manifest.json")]
    assert sorted(whole) == ["samples-000000003200", "samples-000000006400"]


class SlowFolder(RemoteFolder):
    """A store behind a slow line."""

    def put(self, local: Path, name: str) -> None:
        time.sleep(0.15)
        super().put(local, name)


@pytest.mark.parametrize("keep", [1, 3])
def test_there_is_a_whole_checkpoint_however_slow_uploads_are(s3, tmp_path, keep):
    """Checkpoints come faster than they are uploaded."""
    remote = SlowFolder(f"s3://bucket/slow{keep}")
    mirror = Mirror(remote, tmp_path / "run", keep)
    mirror.pull()
    with mirror.following():
        for step in range(1, 9):
            save(mirror.folder, 100 * step, keep)
            whole = [name for name in remote.list() if name.endswith("manifest.json")]
            assert whole or step == 1
            assert len(whole) <= keep + 1
    mirror.finish()
    # Another machine.
    second = Mirror(RemoteFolder(remote.url), tmp_path / "other", keep)
    second.pull()
    found, broken = checkpoint.load_newest(second.folder.checkpoints, torch.device("cpu"))
    assert found.meta["samples"] == 800
    assert not broken


def test_an_upload_that_broke_off_is_passed_over(s3, tmp_path):
    remote = RemoteFolder("s3://bucket/broken")
    mirror = Mirror(remote, tmp_path / "run", 3)
    mirror.pull()
    with mirror.following():
        for samples in (100, 200, 300):
            save(mirror.folder, samples, 3)
    remote.remove(["checkpoints/samples-000000000300/manifest.json"])  # as if it had not come that far
    remote.write("checkpoints/samples-000000000200/state.pt", b"another one's")
    second = Mirror(remote, tmp_path / "other", 3)
    second.pull()
    found, broken = checkpoint.load_newest(second.folder.checkpoints, torch.device("cpu"))
    assert found.meta["samples"] == 100
    assert len(broken) == 1


def test_what_cannot_be_uploaded_stays_and_is_named(s3, tmp_path):
    s3_client(s3).create_bucket(Bucket="vanishes")
    place = RemoteRun("s3://vanishes/run")
    with (  # noqa: PT012 - what is uploaded at the end is what the context is for
        pytest.raises(UserError, match=r"no such bucket.*what was not uploaded is in ") as caught,
        place.opened(config_of("s3://vanishes/run")) as folder,
    ):
        s3_client(s3).delete_bucket(Bucket="vanishes")
        (folder.path / "metrics.jsonl").write_text("{}\n")
    left = Path(str(caught.value).rpartition(" ")[2])
    assert (left / "metrics.jsonl").is_file()
    assert left.name.startswith("ragdist-not-uploaded-"), "the next command would sweep it"


def test_a_lost_claim_ends_the_run_without_a_trace_of_it(s3, tmp_path, digits, monkeypatch):
    """Another process took the run over while this one was thought dead."""
    monkeypatch.setattr("ragdist.runs.remote_lease.BEAT", 0.2)
    place = RemoteRun("s3://bucket/taken")
    config = config_of("s3://bucket/taken")
    with place.leased(config, overwrite=False) as lease:
        place.remote.write("lock", b"someone else\nanother token\n0\n")
        end = time.monotonic() + HANGS
        while not lease.lost:
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(UserError, match="took this run over"):
            lease.check()
    assert place.remote.read("lock").startswith(b"someone else"), "the other's lock was taken away"


def test_a_run_in_use_is_refused(s3, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ragdist.runs.remote_lease.BEAT", 0.5)
    config = config_of("s3://bucket/used")
    with RemoteRun("s3://bucket/used").leased(config, overwrite=False):
        monkeypatch.setattr("ragdist.runs.remote_lease.PATIENCE", 20)
        with (
            pytest.raises(UserError, match=r"is in use by process \d+ on"),
            RemoteRun("s3://bucket/used").leased(config, overwrite=False),
        ):
            pass
    with RemoteRun("s3://bucket/used").leased(config, overwrite=True) as lease:
        assert RemoteRun("s3://bucket/used").token() == lease.token


@pytest.mark.parametrize("content", [b"model: resnet\n", b"\xff"])
def test_what_another_program_keeps_at_a_url_is_not_touched(s3, digits, content):
    remote = RemoteFolder("s3://bucket/theirs")
    theirs = {"config.yaml": content, "samples/picture.png": b"picture"}
    for name, data in theirs.items():
        remote.write(name, data)
    config = config_of("s3://bucket/theirs", f"--data={digits}")
    with pytest.raises(UserError, match=r"config\.yaml"), RemoteRun(config.out).leased(config, overwrite=False):
        pass
    assert {name: remote.read(name) for name in theirs} == theirs
