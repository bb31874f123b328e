"""Time is counted in samples; what 0.1.0 counted in images, on command lines and in files, means the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from ragdist.config import Config, migrations, settings
from ragdist.config.run import flat
from ragdist.evaluation.report import history
from ragdist.generation import generator_file
from ragdist.launch import local
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.runs.mirror import Mirror, RemoteFolder
from tests import golden
from tests.conftest import command, refused
from tune import search
from tune.folder import Rung, SearchFolder, Trial

CPU = torch.device("cpu")
NAMES = {
    "images": "samples",
    "optim.warmup_images": "optim.warmup_samples",
    "optim.lr_images": "optim.lr_samples",
    "optim.ema_images": "optim.ema_samples",
    "objective.lam_images": "objective.lam_samples",
}


def parsed(*argv: str) -> Config:
    return settings.parse(list(argv), "train")[0]


@pytest.mark.parametrize(("old", "new"), NAMES.items())
def test_an_option_is_the_same_under_both_names(old, new, tmp_path):
    wanted = flat(parsed(f"--{new}=12345"))
    assert wanted[new] == 12345
    assert flat(parsed(f"--{old}=12345")) == flat(parsed(f"--{old}", "12345")) == wanted
    for name, file in ((old, tmp_path / "old.yaml"), (new, tmp_path / "new.yaml")):
        group, _, key = name.rpartition(".")
        file.write_text(yaml.safe_dump({group: {key: 12345}} if group else {key: 12345}))
        assert flat(parsed("--config", str(file), "--out=run"))[new] == 12345


def test_of_two_lengths_the_last_counts():
    assert parsed("--images=1000", "--samples=2000").samples == 2000
    assert parsed("--samples=2000", "--images=1000").samples == 1000


def test_a_file_with_both_names_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("images: 1000\nsamples: 2000\n")
    line = refused(command("ragdist.train", "--config=mine.yaml", cwd=tmp_path))
    assert "mine.yaml has samples twice" in line


def test_help_and_files_have_the_names_of_today(tmp_path):
    help_text = command("ragdist.train", "--help", "all", cwd=tmp_path).stdout
    assert "also called --images" in " ".join(help_text.split())
    assert "_images" not in help_text + settings.dumps(Config())
    assert "images" not in yaml.safe_load(settings.dumps(Config()))


@pytest.mark.parametrize("budget", ["--budget_images=3200", "--budget_samples=3200"])
def test_a_search_has_samples_of_its_own(budget):
    plan, *_ = search.parse(["--samples=60", "--images", "6400", budget, "--optim.ema_images=640", "--batch_size=32"])
    assert plan.options.samples == 60
    assert (plan.config.samples, plan.config.optim.ema_samples, plan.budget) == (6400, 640, 3200)
    content = plan.content()
    assert (content["samples"], content["budget_samples"], content["config"]["samples"]) == (60, 3200, 6400)
    assert search.parse(["--images=6400", "--batch_size=32"])[0].budget == 2144  # a third, in whole updates


@pytest.fixture
def finished(tmp_path, monkeypatch) -> RunFolder:
    """A copy of a finished run of 0.1.0, in its place."""
    monkeypatch.chdir(golden.copied("0.1.0", tmp_path / "golden"))
    return RunFolder("finished")


def keys(tree: object) -> set[str]:
    """All keys of nested dictionaries and lists."""
    if isinstance(tree, dict):
        return {*tree}.union(*map(keys, tree.values()))
    return set().union(*map(keys, tree)) if isinstance(tree, list) else set()


def test_a_run_of_images_goes_on_with_samples(finished):
    config = parsed("--out=finished", "--images=3264", "--checkpoint.keep=2", "--evaluate_every=0")
    assert local.run(config, overwrite=False) == 0
    names = [path.name for path in checkpoint.listed(finished.checkpoints)]
    assert names == ["images-000000003200", "samples-000000003264"]
    newest = finished.checkpoints / names[-1]
    state = torch.load(newest / "state.pt", weights_only=True)
    meta, summary = (json.loads(path.read_text()) for path in (newest / "meta.json", finished.summary))
    best = generator_file.about(finished.best)["evaluation"]
    about = generator_file.about(finished.generator)
    assert [found["samples"] for found in (state, meta, summary, about)] == [3264] * 4
    assert best["samples"] in (1600, 3200)
    for found in ([*state], meta, summary, about, best):
        assert not {"images", "images_per_second"} & keys(found)
        assert not {name for name in keys(found) if name.endswith("_images")}
    assert "images" not in state
    rows = history.read_lines(finished.metrics)
    assert [row["samples"] for row in rows] == sorted(row["samples"] for row in rows)
    assert rows[0]["samples"] == 32
    assert rows[-1]["samples"] == 3264
    assert all("images" not in row and "images_per_second" not in row for row in rows)
    written = [json.loads(line) for line in finished.metrics.read_text().splitlines()]
    assert all(("images" in row) != ("samples" in row) for row in written), "old lines stay, new ones have one name"
    assert (finished.samples / "samples-000000003264.png").is_file()
    assert local.run(replace(config, samples=3328), overwrite=False) == 0
    names = [path.name for path in checkpoint.listed(finished.checkpoints)]
    assert names == ["samples-000000003264", "samples-000000003328"], "old checkpoints make room as others do"


def test_the_same_weights_come_of_both_names(finished):
    for out, length in (("a", "--samples=128"), ("b", "--images=128")):
        more = ["--config=finished/config.yaml", f"--out={out}", "--evaluate_every=0", "--optim.warmup_images=320"]
        assert local.run(parsed(*more, length), overwrite=False) == 0
    one, other = (json.loads(Path(out, "summary.json").read_text())["weights_sha256"] for out in "ab")
    assert one == other


def test_the_closing_picture_has_the_grids_of_both_names(finished):
    config = parsed("--out=finished", "--samples=3264", "--evaluate_every=0", "--monitor.grid_every=64")
    before = (finished.samples / "course.png").read_bytes()
    assert local.run(config, overwrite=False) == 0
    names = sorted(path.name for path in finished.samples.glob("*-*.png"))
    assert names == ["images-000000000000.png", "images-000000003200.png", "samples-000000003264.png"]
    from PIL import Image

    rows = Image.open(finished.samples / "course.png").height
    (finished.samples / "old.png").write_bytes(before)
    assert rows > Image.open(finished.samples / "old.png").height, "a row more"


def save(folder: Path, seen: int, keep: int = 9, **more) -> Path:
    return checkpoint.save(folder, seen, {"w": torch.full((4,), float(seen))}, {"samples": seen}, keep=keep, **more)


def older(path: Path) -> Path:
    """Name a checkpoint as 0.1.0 named it."""
    return path.rename(path.with_name(path.name.replace("samples", "images")))


def names(folder: Path) -> list[str]:
    return [f"{path.name.partition('-')[0]} {checkpoint.seen_at(path)}" for path in checkpoint.listed(folder)]


def test_checkpoints_of_both_names_are_ordered_by_number(tmp_path):
    for seen in (100, 1000, 200):
        older(save(tmp_path, seen))
    for seen in (300, 900):
        save(tmp_path, seen)
    (tmp_path / "samples-notes").mkdir()
    assert names(tmp_path) == ["images 100", "images 200", "samples 300", "samples 900", "images 1000"]
    assert checkpoint.load_newest(tmp_path, CPU)[0].path.name == "images-000000001000"
    save(tmp_path, 1100, keep=2, protected=frozenset({100, 300}))
    assert names(tmp_path) == ["images 100", "samples 300", "images 1000", "samples 1100"]


def test_of_two_with_one_number_that_of_today_is_read(tmp_path):
    old = older(save(tmp_path, 100))
    assert save(tmp_path, 100) == old, "a whole one is there already: a run has one state after so many samples"
    assert names(tmp_path) == ["images 100"]
    older(save(tmp_path, 200))
    (old / "state.pt").write_bytes(b"broken")
    assert save(tmp_path, 100).name == "samples-000000000100"
    assert names(tmp_path) == ["samples 100", "images 200"], "what was broken is replaced"


def test_side_by_side_the_whole_one_wins(tmp_path):
    hidden = older(save(tmp_path, 100)).rename(tmp_path / "aside")
    new = save(tmp_path, 100)
    old = hidden.rename(tmp_path / "images-000000000100")
    assert names(tmp_path) == ["images 100", "samples 100"]
    assert checkpoint.path_of(tmp_path, 100) == new
    assert checkpoint.load_newest(tmp_path, CPU)[0].path == new
    (new / "state.pt").write_bytes(b"broken")
    found, broken = checkpoint.load_newest(tmp_path, CPU)
    assert found.path == old
    assert len(broken) == 1
    assert save(tmp_path, 100) == new
    assert checkpoint.load_newest(tmp_path, CPU)[0].path == new


def test_a_mirror_orders_and_deletes_checkpoints_of_both_names(tmp_path, s3):
    remote = RemoteFolder("s3://bucket/both-names")
    first = Mirror(remote, tmp_path / "first", keep=2)
    first.pull()
    for seen in (100, 200):
        older(save(first.folder.checkpoints, seen))
    for path in sorted((tmp_path / "first").rglob("*.*")):
        remote.put(path, str(path.relative_to(tmp_path / "first")))
    second = Mirror(remote, tmp_path / "second", keep=2)
    second.pull()
    assert names(second.folder.checkpoints) == ["images 200"]
    save(second.folder.checkpoints, 300)
    second.finish()
    there = sorted({name.split("/")[1] for name in remote.list() if name.startswith("checkpoints/")})
    assert there == ["images-000000000200", "samples-000000000300"]
    third = Mirror(remote, tmp_path / "third", keep=2)
    third.pull()
    assert names(third.folder.checkpoints) == ["samples 300"]
    third.folder.protected = frozenset({200})
    for seen in (400, 500):
        save(third.folder.checkpoints, seen)
        third.finish()
    there = sorted({name.split("/")[1] for name in remote.list() if name.startswith("checkpoints/")})
    assert there == ["images-000000000200", "samples-000000000400", "samples-000000000500"]


def test_a_trial_is_written_with_one_name(tmp_path):
    place = SearchFolder(tmp_path)
    trial = Trial(0, "default", {"optim.ema_samples": 3}, rungs=[Rung(640, 1.0, [1.0], 2.0)])
    place.write(trial)
    text = (place.trial(0) / "trial.json").read_text()
    assert "images" not in text
    (place.trial(0) / "trial.json").write_text(
        text.replace('"samples"', '"images"').replace("ema_samples", "ema_images")
    )
    (read,) = place.read()
    assert read == trial
    assert read.seen == 640


def test_records_have_one_name_for_what_they_count():
    assert migrations.RECORDS.migrated({"images": 3, "images_per_second": 2.0}, "") == {
        "samples": 3,
        "samples_per_second": 2.0,
    }
