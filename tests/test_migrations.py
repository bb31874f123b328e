"""The table of migrations, and options of other versions wherever they are read."""

import json
import random
from dataclasses import asdict, dataclass, field, replace

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import ragdist
from ragdist.config import Config, migrations, settings
from ragdist.config import run as config_file
from ragdist.config.migrations import Added, Removed, Renamed, Revalued, Table
from ragdist.config.run import ObjectiveOptions, flat
from ragdist.config.shards import IndexOptions, ShardOptions
from ragdist.data.indexing import index_shards, tar_files
from ragdist.data.indexing.scan_shard import Found
from ragdist.data.sources import open_source
from ragdist.data.writing import work_folder
from ragdist.evaluation.report import history
from ragdist.generation import generator_file
from ragdist.launch import local
from ragdist.modalities.image.options import ImageOptions
from ragdist.runs.folder import RunFolder
from ragdist.tools.errors import TooNew, UserError
from tests import golden
from tests.conftest import command, refused
from tune import plan as plans
from tune import space
from tune.folder import SearchFolder

NEWER = "99.0.0"


@dataclass
class History:
    """Rows as versions added them, a file of some version, and what it means in the end."""

    rows: tuple
    saved: dict
    means: dict | None  # None: it cannot be gone on with


@st.composite
def histories(draw) -> History:
    """The meaning is found row by row, from the version of the file on, as if each version had rewritten the file."""
    fresh = iter(range(1000))
    live = {f"k{next(fresh)}": [next(fresh), next(fresh)] for _ in range(3)}  # keys of today, and values they may have
    joined = {}  # what files from before a key mean by its absence
    rows, files = [], []
    for _ in range(draw(st.integers(1, 8))):
        files.append((len(rows), {key: draw(st.sampled_from(values)) for key, values in live.items()}))
        kind = draw(st.sampled_from([Added, Renamed, Revalued, Removed]))
        if kind is Added or not live:
            key, means = f"k{next(fresh)}", next(fresh)
            rows.append(Added("1", key, means))
            live[key] = [means, next(fresh)]
            joined[key] = means
            continue
        key = draw(st.sampled_from(sorted(live)))
        if kind is Renamed:
            rows.append(Renamed("1", key, f"k{next(fresh)}"))
            live[rows[-1].to] = live.pop(key)
            if key in joined:
                joined[rows[-1].to] = joined.pop(key)
        elif kind is Revalued:
            value = draw(st.sampled_from(live[key]))
            rows.append(Revalued("1", key, value, next(fresh)))
            live[key] = [rows[-1].to if old == value else old for old in live[key]]
            if joined.get(key) == value:
                joined[key] = rows[-1].to
        else:
            values = live.pop(key)
            rows.append(Removed("1", key, joined[key] if key in joined else draw(st.sampled_from(values))))
    since, saved = draw(st.sampled_from(files))
    return History(tuple(rows), saved, _followed(rows[since:], dict(saved)))


def _followed(rows, saved: dict) -> dict | None:
    for row in rows:
        if isinstance(row, Added):
            saved[row.key] = row.means
        elif isinstance(row, Renamed):
            saved[row.to] = saved.pop(row.key)
        elif isinstance(row, Revalued):
            saved[row.key] = row.to if saved[row.key] == row.value else saved[row.key]
        elif saved.pop(row.key) != row.means:
            return None
    return saved


@given(histories())
def test_a_file_of_any_version_means_what_it_meant(history):
    table = Table(history.rows)
    if history.means is None:
        with pytest.raises(UserError, match="use it with an earlier version"):
            table.migrated(history.saved, "old.yaml")
        return
    assert table.migrated(history.saved, "old.yaml") == history.means


@given(histories(), st.dictionaries(st.text("xyz", min_size=1), st.integers()), st.randoms(use_true_random=False))
def test_migration_is_idempotent_keeps_what_it_does_not_know_and_takes_any_order(history, more, shuffle: random.Random):
    table, items = Table(history.rows), [*(history.saved | more).items()]
    if history.means is None:
        return
    found = table.migrated(dict(items), "old.yaml")
    assert found == history.means | more
    assert table.migrated(found, "new.yaml") == found
    shuffle.shuffle(items)
    assert table.migrated(dict(items), "old.yaml") == found


@given(histories())
def test_an_old_command_line_is_one_of_today(history):
    """What is said of options that are still there; one that is gone stays in it, for the parser to refuse."""
    table = Table(history.rows)
    said = {key: value for key, value in history.saved.items() if table.name(key) not in table.removed}
    meant = [f"--{key}={value}" for key, value in table.renamed(said, "").items()]
    assert table.words([f"--{key}={value}" for key, value in said.items()]) == meant
    apart = [word for key, value in said.items() for word in (f"--{key}", str(value))]
    assert table.words(["--overwrite", *apart]) == ["--overwrite", *(w for word in meant for w in word.split("="))]


def test_a_name_in_two_words_is_refused():
    table = Table((Renamed("0.2.0", "images", "samples"),))
    with pytest.raises(UserError, match=r"mine.yaml has samples twice"):
        table.renamed({"images": 1, "samples": 2}, "mine.yaml")


@pytest.mark.parametrize(
    "rows",
    [
        (Renamed("1", "a", "b"), Renamed("2", "b", "a")),
        (Renamed("1", "a", "b"), Renamed("2", "a", "c")),
    ],
)
def test_names_are_not_used_again(rows):
    with pytest.raises(AssertionError, match="before"):
        Table(rows)


def test_versions():
    numbers = [int(part) for part in ragdist.__version__.split(".")[:3]]
    assert migrations.newer(NEWER)
    assert migrations.newer(".".join(map(str, [*numbers[:2], numbers[2] + 1])))
    assert not migrations.newer(ragdist.__version__)
    assert not migrations.newer(None)
    assert not migrations.newer("0.0.9")
    migrations.check_format({"format": "f", "version": 1}, "f", 2, "file")
    migrations.check_format({"format": "f", "version": 2}, "f", 2, "file")
    with pytest.raises(
        TooNew, match=r"^file was written by ragdist 99.0.0, as f version 3, .* up to 2: update ragdist$"
    ):
        migrations.check_format({"format": "f", "version": 3, "ragdist": NEWER}, "f", 2, "file")
    for wrong in ({"format": "g", "version": 1}, {"format": "f", "version": "1"}, {"format": "f"}, {}):
        with pytest.raises(UserError, match="and not f") as error:
            migrations.check_format(wrong, "f", 2, "file")
        assert not isinstance(error.value, TooNew)


# An option that decides weights, and did not before: 4 is what everything was made with, 8 the default.


@dataclass
class WiderObjective(ObjectiveOptions):
    parts: int = 8
    """of a later version"""


@dataclass
class Wider(Config):
    objective: WiderObjective = field(default_factory=WiderObjective)


LATER = (
    *migrations.OPTIONS.rows,
    Added("99.0.0", "objective.parts", 4),
    Renamed("99.0.0", "optim.averaged_samples", "optim.ema_samples"),  # as if the first name were the older one
    Revalued("99.0.0", "objective.space", "dots", "points"),
    Removed("99.0.0", "objective.sign", 1),
)


@pytest.fixture
def later(monkeypatch) -> None:
    """A version with another option, in which some things were called something else before."""
    for module in (config_file, settings, plans, space):
        monkeypatch.setattr(module, "Config", Wider)
    monkeypatch.setattr(migrations, "OPTIONS", Table(LATER))


def written_before(**other) -> dict:
    """The options of a run, as the version before the later one wrote them."""
    tree = asdict(Config())
    tree["optim"]["averaged_samples"] = tree["optim"].pop("ema_samples")
    tree["objective"] |= {"space": "dots", "sign": 1}
    return tree | other


def test_a_run_of_before_is_continued_with_what_was_done_before(tmp_path, later):
    (tmp_path / "run").mkdir()
    text = yaml.safe_dump(written_before(out=str(tmp_path / "run"), seed=5))
    (tmp_path / "run/config.yaml").write_text(text)
    config, _ = settings.parse(["--out", str(tmp_path / "run")], "train")
    assert (config.objective.parts, config.objective.space, config.seed) == (4, "points", 5)
    saved = settings.loads(text, "config.yaml")
    assert settings.differences(config, saved) == []
    assert settings.differences(replace(config, objective=WiderObjective(parts=5)), saved) == ["objective.parts 4 -> 5"]
    again = settings.loads(settings.dumps(config), "config.yaml")
    assert again == flat(config)
    assert settings.differences(config, again) == []


def test_a_file_of_the_users_says_what_it_says(tmp_path, later):
    """Old words are understood, and what it leaves out is today's default."""
    (tmp_path / "mine.yaml").write_text("optim: {averaged_samples: 3000, g_lr: 1e-4}\nobjective: {space: dots}\n")
    argv = ["--config", str(tmp_path / "mine.yaml"), "--optim.averaged_samples=5000"]
    config, _ = settings.parse(argv, "train")
    assert (config.objective.parts, config.objective.space) == (8, "points")
    assert (config.optim.ema_samples, config.optim.g_lr) == (5000, 1e-4)
    assert settings.parse(argv[:2], "train")[0].optim.ema_samples == 3000


def test_a_golden_run_goes_on_with_another_option(tmp_path, monkeypatch, later):
    """A real run of the first version: its checkpoint is one of the same run, and the next one names the option."""
    monkeypatch.chdir(golden.copied(golden.VERSIONS[0], tmp_path / "golden"))
    for samples in (3264, 3328):
        config, _ = settings.parse(["--out=finished", f"--samples={samples}", "--evaluate_every=0"], "train")
        assert config.objective.parts == 4
        assert local.run(config, overwrite=False) == 0
        meta = json.loads((RunFolder("finished").checkpoints / f"samples-{samples:012d}/meta.json").read_text())
        assert meta["config"]["objective.parts"] == 4
        assert meta["ragdist"] == ragdist.__version__
    with pytest.raises(UserError, match=r"another configuration \(objective.parts 4 -> 8\)"):
        local.run(settings.parse(["--out=finished", "--objective.parts=8"], "train")[0], overwrite=False)


def test_a_golden_search_goes_on_with_another_option(tmp_path, later):
    place = SearchFolder(golden.copied(golden.VERSIONS[0], tmp_path / "golden") / "killed")
    saved = json.loads(place.search.read_text())
    saved["space"]["objective.space"] = {"choice": ["dots", "feature"]}
    saved["space"]["optim.averaged_samples"] = saved["space"].pop("optim.ema_images")
    place.search.write_text(json.dumps(saved))
    plan = plans.read(place.search)
    plans.same(plan, place.search)
    assert plan.config.objective.parts == 4
    assert {axis.name: axis.choices for axis in plan.axes} == {
        "objective.lam": (),
        "objective.space": ("points", "feature"),
        "optim.ema_samples": (),
    }
    trial = json.loads((place.trial(1) / "trial.json").read_text())
    trial["options"]["optim.averaged_samples"] = trial["options"].pop("optim.ema_images")
    trial["options"]["objective.space"] = "dots"
    (place.trial(1) / "trial.json").write_text(json.dumps(trial))
    read = place.read_one(place.trial(1) / "trial.json")
    assert read.options["objective.space"] == "points"
    assert {"objective.lam", "optim.ema_samples", "objective.space"} == read.options.keys()


def test_a_search_says_its_own_options_in_the_words_of_today(tmp_path, monkeypatch):
    place = SearchFolder(golden.copied(golden.VERSIONS[0], tmp_path / "golden") / "searched")
    saved = json.loads(place.search.read_text())
    saved["budget"] = saved.pop("budget_images")
    del saved["inception_weights"]
    place.search.write_text(json.dumps(saved))
    rows = (*migrations.SEARCH.rows, Renamed("9", "budget", "budget_samples"), Added("9", "inception_weights", "mine"))
    monkeypatch.setattr(migrations, "SEARCH", Table(rows))
    plan = plans.read(place.search)
    assert (plan.budget, plan.options.inception_weights) == (3200, "mine")


def test_a_generator_of_before_is_read(tmp_path, monkeypatch):
    """Its network's options by other names; one that is missing."""
    place = golden.copied(golden.VERSIONS[0], tmp_path / "golden")
    file = place / "finished/generator.safetensors"
    about = generator_file.about(file)
    del about["network"]["depth"]
    about["network"]["latent"] = about["network"].pop("z_dim")
    about["seen"] = about.pop("samples")
    save_file(load_file(file), file, {"ragdist": json.dumps(about)})
    rows = (*migrations.OPTIONS.rows, Renamed("9", "network.latent", "network.z_dim"), Added("9", "network.depth", 2))
    monkeypatch.setattr(migrations, "OPTIONS", Table(rows))
    monkeypatch.setattr(migrations, "RECORDS", Table((*migrations.RECORDS.rows, Renamed("9", "seen", "samples"))))
    found = generator_file.load(file, torch.device("cpu"))
    assert found.about["samples"] == generator_file.about(file)["samples"] == 3200
    assert (
        found.about["network"]
        == generator_file.load(place / "continued.safetensors", torch.device("cpu")).about["network"]
    )


def test_records_of_before_are_read(tmp_path, monkeypatch):
    """As when samples were counted under another name: a run goes on, and its history is whole."""
    place = golden.copied(golden.VERSIONS[0], tmp_path / "golden")
    monkeypatch.chdir(place)
    monkeypatch.setattr(migrations, "RECORDS", Table((*migrations.RECORDS.rows, Renamed("9", "seen", "samples"))))
    for name in ("metrics.jsonl", "evaluations.jsonl", "summary.json"):
        file = place / "finished" / name
        file.write_text(file.read_text().replace('"images":', '"seen":'))
    config, _ = settings.parse(["--out=finished"], "train")
    assert local.run(config, overwrite=False) == 0
    assert settings.parse(["--out=finished", "--samples=4800"], "train")[0].samples == 4800
    assert local.run(replace(config, samples=4800), overwrite=False) == 0
    assert [row["samples"] for row in history.read_lines(RunFolder("finished").evaluations)] == [1600, 3200, 4800]
    assert all("samples" in row for row in history.read_lines(RunFolder("finished").metrics))


def test_what_there_is_no_more_is_refused_where_it_mattered(later):
    tree = written_before()
    tree["objective"]["sign"] = -1
    with pytest.raises(UserError, match=r"^run/config.yaml was made with objective.sign -1, which ragdist has not had"):
        settings.loads(yaml.safe_dump(tree), "run/config.yaml")


def test_a_run_of_a_newer_version_is_one_line(tmp_path):
    tree = {"version": NEWER, **asdict(Config(out="run"))}
    tree["objective"]["parts"] = 8
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(tree))
    for argv in (["--out=run"], ["--config=run/config.yaml"], ["--config=digits", "--out=run"]):
        line = refused(command("ragdist.train", *argv, "--data.source=digits", cwd=tmp_path))
        assert f"was written by ragdist {NEWER}" in line
        assert "(objective.parts): update ragdist" in line
    del tree["objective"]["parts"]  # it may be newer, as long as nothing is unknown
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(tree))
    assert settings.read(tmp_path / "run/config.yaml") == flat(Config(out="run"))


def test_files_say_which_version_wrote_them(tmp_path):
    assert yaml.safe_load(settings.dumps(Config()))["version"] == ragdist.__version__
    (tmp_path / "mine.yaml").write_text(json.dumps({"version": ragdist.__version__, "seed": 3}))
    assert settings.parse(["--config", str(tmp_path / "mine.yaml")], "train")[0].seed == 3


def test_shards_that_were_half_written_before_an_option_are_gone_on_with(tmp_path, monkeypatch):
    """As if --root decided bytes, and had come later: the plan is what it was until somebody says it."""
    source = open_source("digits", ShardOptions(), tmp_path)
    before = work_folder.plan(source, ShardOptions(), ImageOptions())
    monkeypatch.setattr(work_folder, "_ALSO", {"root": ""})
    assert work_folder.plan(source, ShardOptions(), ImageOptions()) == before
    assert work_folder.plan(source, ShardOptions(root="elsewhere"), ImageOptions()) != before


def test_notes_that_another_version_left_are_passed_over(tmp_path):
    place = golden.copied(golden.VERSIONS[0], tmp_path / "golden")
    tars = [tar_files.look_at(place) for place in tar_files.tars([str(place / "indexed")])]
    notes, asked = place / "notes", IndexOptions(label="class")
    notes.mkdir()
    jobs = index_shards._jobs(tars, notes, asked, {})
    index_shards._survey(jobs, processes=1)
    assert all(index_shards._noted(job) for job in jobs)
    (plan,) = notes.glob("*.json")
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"of_later": 1}))
    found = Found.load(jobs[0].note)
    found.seconds = 1.5
    found.save(jobs[0].note)
    again = index_shards._jobs(tars, notes, asked, {})
    assert [job.plan for job in again] == [job.plan for job in jobs]
    assert [index_shards._noted(job) for job in again] == [False, True]
