"""Weights & Biases gets what a run logs; read back from the file that it writes where it is offline."""

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragdist.runs.folder import RunFolder
from ragdist.training.weights_and_biases import identity, shown_as
from tests.conftest import TINY, command, refused

BLOCK = 32768


def records(path: Path) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it, after W&B's header of seven bytes."""
    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # no header fits: the rest of the block is empty
            at += BLOCK - at % BLOCK
            continue
        size, part = struct.unpack("<HB", data[at + 4 : at + 7])  # after a checksum
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if part in (1, 4):  # the only part, or the last one
            yield whole
            whole = b""


def train(cwd: Path, digits: Path, samples: int, *more: str) -> None:
    options = [f"--samples={samples}", "--monitor.wandb=project", "--monitor.seconds=0.1", *more]
    result = command("ragdist.train", *TINY, f"--data={digits}", "--out=run", *options, cwd=cwd,
                     WANDB_MODE="offline", WANDB_SILENT="true")  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits) -> Path:
    pytest.importorskip("wandb")
    cwd = tmp_path_factory.mktemp("wandb")
    judged = ["--evaluate_every=320", "--evaluate.samples=200", "--evaluate.features=pixels"]
    train(cwd, digits, 640, *judged, "--evaluate.metrics=frechet")
    return cwd / "run"


def identities(run: Path) -> list[str]:
    """By which W&B knows what was logged from a folder, in the order of the starts."""
    paths = sorted(run.parent.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)
    return [path.stem.removeprefix("run-") for path in paths]


def test_all_that_is_logged_arrives(run):
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = run.parent.glob("wandb/offline-run-*/run-*.wandb")
    found = [Record.FromString(data) for data in records(path)]
    (started,) = {record.run.run_id: record.run for record in found if record.HasField("run")}.values()
    known_by = json.loads((run / "wandb.json").read_text())["id"]
    assert (started.project, started.run_id, started.display_name) == ("project", known_by, "run")
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert (config["batch_size"], config["network.family"]) == (32, "mlp")

    arrived = []
    for record in found:
        if record.HasField("history"):
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            arrived.append((record.history.step.num, row))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [(row.pop("samples"), row) for row in lines if "loss_g" in row]
    assert len(logged) >= 2
    for samples, row in logged:
        (mine,) = [found for step, found in arrived if step == samples and "loss_g" in found]
        del row["time"]
        assert row.items() <= mine.items()
    judged = [found for _, found in arrived if "evaluate/samples" in found]
    assert [found["evaluate/samples"] for found in judged] == [320, 640]
    evaluated = [row["evaluate/frechet_distance"] for row in lines if "evaluate/frechet_distance" in row]
    assert [found["evaluate/frechet_distance"] for found in judged] == evaluated


def test_a_run_that_goes_on_is_one_and_one_that_begins_anew_is_another(run, digits):
    train(run.parent, digits, 672)
    train(run.parent, digits, 32, "--overwrite")
    first, second, third = identities(run)
    assert first == second
    assert third not in ("run", first)


def test_the_identity_belongs_to_what_was_trained(tmp_path):
    one, other = (RunFolder(tmp_path / name) for name in "ab")
    for folder in (one, other):
        folder.path.mkdir()
    first = identity(one, 0)
    assert identity(one, 320) == identity(one, 640) == first
    assert identity(other, 320) != first, "begun without it, or by an earlier version"
    assert identity(one, 0) != first, "nothing of that run is left"
    one.wandb.write_text("[]")
    assert re.fullmatch("[0-9a-f]{32}", identity(one, 320))


@pytest.mark.parametrize(
    ("out", "group", "name"),
    [
        ("runs/digits/", None, "digits"),
        ("s3://bucket/a/run", None, "run"),
        ("/home/me/wide/trials/0007/seed-1", "wide", "0007/seed-1"),
    ],
)
def test_what_a_run_is_called(out, group, name):
    assert shown_as(out) == (group, name)


def test_without_an_account_there_is_one_line(tmp_path, digits):
    pytest.importorskip("wandb")
    nobody = {"WANDB_MODE": "online", "WANDB_API_KEY": "", "WANDB_SILENT": "true", "HOME": str(tmp_path)}
    options = [f"--data={digits}", "--out=run", "--monitor.wandb=project"]
    line = refused(command("ragdist.train", *TINY, *options, cwd=tmp_path, **nobody))
    assert "--monitor.wandb project: No API key configured" in line
    assert "WANDB_MODE=offline keeps it on this machine" in line


KILLED = """
import time, psutil, wandb
from ragdist.training.weights_and_biases import WandbRun
run = WandbRun(wandb.init(project="p"), print)
(core,) = [child for child in psutil.Process().children(recursive=True) if "wandb-core" in child.name()]
core.kill()
for step in range(100):
    run.log({"a": 1.0}, step=step)
    time.sleep(0.02)
run.finish()
"""


def test_the_end_of_its_process_does_not_end_the_run(tmp_path):
    pytest.importorskip("wandb")
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    result = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    assert line.startswith("W&B takes no more figures (Connection")
    assert line.endswith("the run goes on, and metrics.jsonl has them all")


def test_without_the_package_there_is_one_line(tmp_path, digits):
    (tmp_path / "wandb.py").write_text("raise ImportError('not installed')\n")  # found before any other
    line = refused(
        command("ragdist.train", *TINY, f"--data={digits}", "--out=run", "--monitor.wandb=project", cwd=tmp_path)
    )
    assert "pip install wandb" in line
