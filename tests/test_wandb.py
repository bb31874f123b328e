"""Weights & Biases gets what a run logs; read back from the file that it writes where it is offline."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits) -> Path:
    pytest.importorskip("wandb")
    cwd = tmp_path_factory.mktemp("wandb")
    options = ["--samples=640", "--monitor.wandb=project", "--monitor.seconds=0.1", "--evaluate_every=320"]
    options += ["--evaluate.samples=200", "--evaluate.features=pixels", "--evaluate.metrics=frechet"]
    result = command("ragdist.train", *TINY, f"--data={digits}", "--out=run", *options, cwd=cwd,
                     WANDB_MODE="offline", WANDB_SILENT="true")  # fmt: skip
    assert result.returncode == 0, result.stderr
    return cwd / "run"


def test_all_that_is_logged_arrives(run):
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = run.parent.glob("wandb/offline-run-*/run-run.wandb")
    found = [Record.FromString(data) for data in records(path)]
    (started,) = {record.run.run_id: record.run for record in found if record.HasField("run")}.values()
    assert (started.project, started.run_id) == ("project", "run")
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


def test_without_the_package_there_is_one_line(tmp_path, digits):
    (tmp_path / "wandb.py").write_text("raise ImportError('not installed')\n")  # found before any other
    line = refused(
        command("ragdist.train", *TINY, f"--data={digits}", "--out=run", "--monitor.wandb=project", cwd=tmp_path)
    )
    assert "pip install wandb" in line
