"""Checkpoints on the disk: whole or absent, the newest whole one wins, none is lost to another's damage."""

import json
import os
import time

import pytest
import torch

from ragdist.runs import checkpoint
from ragdist.tools.errors import UserError
from ragdist.tools.follow_parent import start_context

CPU = torch.device("cpu")


def save(folder, samples: int, keep: int = 3):
    return checkpoint.save(folder, samples, {"w": torch.full((4,), float(samples))}, {"samples": samples}, keep=keep)


def names(folder) -> list[int]:
    return [int(path.name.partition("-")[2]) for path in checkpoint.listed(folder)]


def test_the_newest_is_loaded_and_the_last_k_are_kept(tmp_path):
    for samples in (100, 200, 300, 400):
        save(tmp_path, samples, keep=2)
    assert names(tmp_path) == [300, 400]
    found, broken = checkpoint.load_newest(tmp_path, CPU)
    assert found.state["w"].tolist() == [400.0] * 4
    assert found.meta["samples"] == 400
    assert broken == []


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_broken_newer_one_never_pushes_a_whole_one_out(tmp_path, keep):
    for samples in (100, 200, 900):
        save(tmp_path, samples)
    (tmp_path / "samples-000000000900" / "state.pt").write_bytes(b"broken")
    save(tmp_path, 300, keep=keep)
    found, broken = checkpoint.load_newest(tmp_path, CPU)
    assert found.meta["samples"] == 300
    assert len(broken) == 1
    assert "state.pt does not match" in broken[0]
    save(tmp_path, 900, keep=keep)  # the run comes by again and replaces it
    assert checkpoint.load_newest(tmp_path, CPU)[0].meta["samples"] == 900


def test_what_others_put_beside_checkpoints_stays_and_disturbs_nothing(tmp_path):
    for name in ("samples-000000000100.bak", "images-000000000100.bak", "lost+found", "samples-", "samples-1x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    for name in (".DS_Store", ".nfs0000000000001", "samples-000000000100.tar", "samples-000000000064", "notes-1"):
        (tmp_path / name).write_text("mine")
    before = {path.name for path in tmp_path.iterdir()}
    for seen in (32, 64, 96, 128):
        save(tmp_path, seen, keep=2)
    assert [checkpoint.seen_at(path) for path in checkpoint.listed(tmp_path)] == [96, 128]
    assert before - {path.name for path in tmp_path.iterdir()} == {"samples-000000000064"}
    (moved,) = tmp_path.glob("samples-000000000064.other-*")
    assert moved.read_text() == "mine"


def test_none_at_all_is_a_start_and_only_broken_ones_are_not(tmp_path):
    assert checkpoint.load_newest(tmp_path, CPU) == (None, [])
    save(tmp_path, 100)
    (tmp_path / "samples-000000000100" / "meta.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint is whole"):
        checkpoint.load_newest(tmp_path, CPU)


def test_a_checkpoint_holds_no_code(tmp_path):
    """What would run code on loading is refused by the loader, whatever the manifest says."""

    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "ran"),)

    checkpoint.save(tmp_path, 100, {"w": Evil()}, {}, keep=3)
    with pytest.raises(Exception, match="weights_only"):
        checkpoint.load_newest(tmp_path, CPU)
    assert not (tmp_path / "ran").exists()


def write_for_ever(folder) -> None:
    for samples in range(1, 100_000):
        save(folder, samples)


def test_killed_at_any_moment_the_newest_is_whole(tmp_path):
    """Twenty kills of a process that does nothing but write checkpoints."""
    context = start_context([__name__])
    for kill in range(20):
        process = context.Process(target=write_for_ever, args=(tmp_path,))
        process.start()
        while not checkpoint.listed(tmp_path):
            time.sleep(0.001)
        time.sleep(0.02 + 0.0137 * kill)
        process.kill()
        process.join()
        found, broken = checkpoint.load_newest(tmp_path, CPU)
        assert broken == []
        assert (found.state["w"] == found.meta["samples"]).all()
        manifest = json.loads((found.path / "manifest.json").read_text())
        assert set(manifest) == {"state.pt", "meta.json"}
