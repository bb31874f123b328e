"""What earlier versions wrote: it is opened, continued, extended, drawn from, judged, indexed and searched on, for ever."""

import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import ragdist
from ragdist.config import Config, migrations, settings
from ragdist.config.run import flat
from ragdist.data import index as index_file
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.report import history
from ragdist.generation import generator_file
from ragdist.modalities.classifier import classifier
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.storage.cache import Cache
from ragdist.tools.errors import TooNew
from tests import golden
from tests.conftest import command, refused
from tests.golden.make import machine
from tune import plan as plans
from tune import results
from tune.evaluator import TrialEvaluator
from tune.folder import SearchFolder
from tune.rung import advance
from tune.state import SearchState

CPU = torch.device("cpu")
# Of the weights, relative to their length: what rounding grows to, on a processor with other units, over the updates
# that are left of the interrupted run. Weights of another seed, or without the term, differ by more than 0.5.
ROUNDING = 0.1
# What a run is told that is older than logical workers.
ONE = "this run is older than logical workers, and has one: it goes on on one worker, with sums in another order than "


@pytest.fixture(params=golden.VERSIONS)
def place(request, tmp_path) -> Path:
    """A copy of all that a version wrote."""
    return golden.copied(request.param, tmp_path / request.param)


def done(module: str, *arguments: str, cwd: Path) -> str:
    """What a command says that does what it is told."""
    result = command(module, *arguments, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def options(place: Path) -> list[dict]:
    """What options the runs, checkpoints and searches of a version name, in the words of today."""
    metas = [json.loads(path.read_text()) for path in sorted(place.glob("*/checkpoints/*/meta.json"))]
    files = sorted(place.glob("*/config.yaml"))
    searches = [plans._load(path) for path in sorted(place.glob("*/search.json"))]
    assert len(metas) >= 3
    assert len(files) == len(searches) == 2
    return [
        *(settings.read(file) for file in files),
        *(settings.of_today(meta["config"], "meta.json") for meta in metas),
        *(search["config"] for search in searches),
    ]


def test_an_option_that_decides_weights_says_what_was_before_it(place):
    for saved in options(place):
        missing = flat(Config(), free=False).keys() - saved.keys()
        assert not missing, "add a row to OPTIONS in migrations.py for each: what did runs do before there was it?"


def test_an_option_of_a_search_says_what_was_before_it(place):
    for path in place.glob("*/search.json"):
        missing = {*plans._KEYS} - {*plans._load(path)}
        assert not missing, "add a row to SEARCH in migrations.py for each: what did searches do before there was it?"
        plans.same(plans.read(path), path)


def test_a_finished_run_is_extended(place):
    assert "is finished: 3,200 images" in done("ragdist.train", "--out=finished", cwd=place)
    said = done("ragdist.train", "--out=finished", "--samples=4800", cwd=place)
    assert re.search(r"continuing from finished/checkpoints/\w+-0*3200", said)
    rows = history.read_lines(place / "finished/evaluations.jsonl")
    assert [row["samples"] for row in rows] == [1600, 3200, 4800]
    assert len({row["protocol"] for row in rows}) == 1, "old and new evaluations are one curve"
    run = RunFolder(place / "finished")
    assert json.loads(run.summary.read_text())["samples"] == 4800
    assert yaml.safe_load(run.config.read_text())["version"] == ragdist.__version__
    assert generator_file.about(run.best)["evaluation"]["samples"] in (1600, 3200, 4800)


def test_an_interrupted_run_comes_to_the_weights_it_would_have_come_to(place):
    said = done("ragdist.train", "--out=unfinished", cwd=place)
    assert "continuing from unfinished/checkpoints/" in said
    assert said.count(ONE) == 1
    mine = generator_file.load(place / "unfinished/generator.safetensors", CPU)
    about = golden.about(place.name)
    continued = migrations.RECORDS.renamed(about["continued"], "about.json")
    assert mine.about["samples"] == continued["samples"] == 20_000
    theirs = generator_file.load(place / "continued.safetensors", CPU)
    assert theirs.about["weights_sha256"] == about["continued"]["weights_sha256"]
    if all(about[name] == value for name, value in machine().items() if name != "ragdist"):
        assert mine.about["weights_sha256"] == theirs.about["weights_sha256"]
    assert apart(mine.generator, theirs.generator) < ROUNDING
    start = RunFolder(golden.copied(place.name, place / "again") / "unfinished").generator
    assert apart(mine.generator, generator_file.load(start, CPU).generator) > 0, "there was something left to do"
    assert [row["samples"] for row in history.read_lines(place / "unfinished/evaluations.jsonl")] == [16_000, 20_000]
    assert ONE not in done("ragdist.train", "--out=unfinished", "--samples=20064", cwd=place), "said once"


def test_a_run_goes_on_on_one_worker(place):
    said = refused(command("ragdist.train", "--out=unfinished", "--workers=2", cwd=place))
    assert said.startswith("error: --workers 2: this run has 1 logical worker, ")
    assert "; give --workers 1, or for a new run another --logical_workers" in said
    other = command("ragdist.train", "--out=unfinished", "--logical_workers=2", cwd=place)
    assert "another configuration (logical_workers 1 -> 2)" in refused(other)


def apart(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """The distance of two networks' weights, relative to their length."""
    flat, others = (torch.cat([p.flatten() for p in network.parameters()]) for network in (one, other))
    return float((flat - others).norm() / others.norm())


@pytest.mark.parametrize(
    ("source", "more"),
    [("finished", ["--class=bee"]), ("dcgan.safetensors", ["--class=2"]), ("resnet.safetensors", [])],
)
def test_a_generator_draws_what_it_drew(place, source, more):
    done("ragdist.generate", source, "--n=4", "--seed=3", *more, "--out=now.png", cwd=place)
    now, then = (
        np.asarray(Image.open(place / name), np.int64) for name in ("now.png", f"drawn-{source.partition('.')[0]}.png")
    )
    assert np.abs(now - then).max() <= 2, "of 256 levels: processors round differently"


def test_an_evaluation_gives_the_figures_that_it_gave(place):
    then = json.loads((place / "finished/evaluation.json").read_text())
    words = ["--features=pixels", "--samples=60", "--cache=cache", "--device=cpu"]
    measures = "--metrics=frechet,kid,precision_recall"
    said = done("ragdist.evaluate", "finished", measures, *words, cwd=place)
    assert "features from the cache" in said, "the data's digest, and with it the cache, is what it was"
    now = json.loads((place / "finished/evaluation.json").read_text())
    assert history.protocol_key(now["protocol"]) == history.protocol_key(then["protocol"])
    for name, figure in then["figures"].items():
        assert now["figures"][name]["value"] == pytest.approx(figure["value"], rel=1e-3, abs=1e-6), name
    assert [row["samples"] for row in history.read_lines(place / "finished/evaluations.jsonl")] == [1600, 3200]


def test_a_classifier_is_not_trained_again(place):
    (packed,) = place.glob("classifier-*.gz")
    content = gzip.decompress(packed.read_bytes())
    (place / "shards" / packed.stem).write_bytes(content)

    def begin(total: int):
        raise AssertionError("it would be trained anew")

    assert classifier(DataSet(str(place / "shards"), place / "cache"), place / "cache", begin=begin).content == content


def test_data_sets_are_checked_shown_and_indexed_again(place):
    for name, samples in (("shards", 60), ("indexed", 30)):
        assert f"{samples} samples" in done("ragdist.shards", "check", name, "--processes=1", cwd=place)
        assert f"{samples}" in done("ragdist.shards", "stats", name, cwd=place)
    before = (place / "indexed/index.json").read_text()
    done("ragdist.shards", "index", "indexed", "--label=class", "--overwrite", "--processes=1", cwd=place)
    assert (place / "indexed/index.json").read_text() == before, "the same, digest and all"


def test_a_digest_stays_while_the_format_goes_on(place, monkeypatch):
    digests = {}
    for name in ("shards", "indexed"):
        content = json.loads((place / name / "index.json").read_text())
        index = index_file.load(place / name)
        assert index.digest == content["digest"]
        assert index.dumps() == (place / name / "index.json").read_text(), "written as it was, while nothing is new"
        digests[name] = index.digest
    monkeypatch.setattr(index_file, "VERSION", 77)
    assert {name: index_file.load(place / name).digest for name in digests} == digests


def test_fetched_shards_are_not_fetched_again(place):
    cache = Cache(place / "cache/fetched", 10**9)
    shards = index_file.load(place / "shards").shards
    (kept,) = (shard for shard in shards if shard.sha256 in cache)

    def fetch(path: Path) -> None:
        raise AssertionError("it is there")

    with cache.open(kept.sha256, kept.bytes, fetch, lambda path: None) as file:
        assert file.read() == (place / "shards" / kept.name).read_bytes()


def test_a_finished_search_is_told_again(place):
    table, best = (place / "searched/trials.csv").read_text(), (place / "searched/best.yaml").read_text()
    words = search_words(place, "searched")
    said = done("tune.search", *words, cwd=place)
    assert "3 trials in" in said
    assert "3 finished" in said
    now = table.replace(",pixel,", ",points,")  # what the space is called
    now = now.replace("optim.ema_images", "optim.ema_samples").replace(",images,", ",samples,")
    assert (place / "searched/trials.csv").read_text() == now
    assert (now == table) == (place.name != "0.1.0"), "only that version's words were others"
    assert (place / "searched/report.html").is_file()
    now, then = (settings.loads(text, "best.yaml") for text in ((place / "searched/best.yaml").read_text(), best))
    assert now.keys() >= then.keys()
    assert {key: now[key] for key in then} == then
    config, _ = settings.parse(["--config", str(place / "searched/best.yaml"), "--out=best"], "train")
    assert flat(config) == now | {"out": "best"}


def search_words(place: Path, out: str) -> list[str]:
    """The search's command, as it was given."""
    said = next(words for words in golden.about(place.name)["commands"] if f"--out={out}" in words)
    return said.split()[1:]


def test_a_killed_search_comes_to_the_end_it_would_have_come_to(place):
    """Without Ray, which only brings trials to processes: test_search.py has the command."""
    there = SearchFolder(place / "killed")
    plan = plans.read(there.search)
    plan = replace(plan, options=replace(plan.options, trials=3))
    before = {trial.number: trial for trial in there.read()}
    assert [(trial.state, len(trial.rungs)) for trial in before.values()] == [("finished", 3), ("running", 1)]
    course, judge = SearchState(plan, there), TrialEvaluator(plan, CPU)
    while trial := course.next():
        while trial.state == "running":
            reached = advance(plan, there, trial.number, judge, device=CPU)
            assert reached.values, reached
            course.record(trial.number, reached.seen, reached.values, reached.seconds)
    whole = {trial.number: trial for trial in SearchFolder(place / "searched").read()}
    assert course.trials.keys() == whole.keys() == {0, 1, 2}
    for number, trial in course.trials.items():
        assert trial.options == whole[number].options
        assert trial.value == pytest.approx(whole[number].value, rel=0.1)
    assert course.trials[0] == before[0]
    results.write(course)


# A newer version's files, made of an old one's.


def newer_generator(place: Path) -> None:
    about, weights = (
        generator_file.about(place / "finished/generator.safetensors"),
        place / "finished/generator.safetensors",
    )
    rewrite(weights, about | {"network": about["network"] | {"norm": "spectral"}})


def newer_generator_format(place: Path) -> None:
    file = place / "finished/generator.safetensors"
    rewrite(file, generator_file.about(file) | {"version": 9})


def newer_samples(place: Path) -> None:
    file = place / "finished/generator.safetensors"
    rewrite(file, generator_file.about(file) | {"ragdist": "99.0.0", "spec": {"dtype": "uint16"}})


def rewrite(file: Path, about: dict) -> None:
    from safetensors.torch import save_file

    save_file(load_file(file), file, {"ragdist": json.dumps(about)})


def newer_checkpoint(place: Path) -> None:
    rewrite_checkpoint(place, lambda meta: meta | {"version": 9})


def newer_option(place: Path) -> None:
    rewrite_checkpoint(place, lambda meta: meta | {"config": meta["config"] | {"optim.ortho": 0.1}})


def rewrite_checkpoint(place: Path, change) -> None:
    path = max((place / "unfinished/checkpoints").iterdir())
    meta = change(json.loads((path / "meta.json").read_text()))
    (path / "meta.json").write_text(json.dumps(meta))
    manifest = {name: checkpoint._sha256(path / name) for name in ("state.pt", "meta.json")}
    (path / "manifest.json").write_text(json.dumps(manifest))


def newer_index(place: Path) -> None:
    content = json.loads((place / "shards/index.json").read_text())
    (place / "shards/index.json").write_text(json.dumps(content | {"version": 3, "colours": "rec2020"}))


def newer_shard(place: Path) -> None:
    content = json.loads((place / "shards/index.json").read_text())
    content["shards"][1]["seconds"] = 12.5
    (place / "shards/index.json").write_text(json.dumps(content))


def newer_spec(place: Path) -> None:
    index = index_file.load(place / "shards")
    spec = {"dtype": "uint16"}
    (place / "shards/index.json").write_text(
        index_file.Index(index.codec, index.shape, index.classes, index.shards, spec).dumps()
    )


def newer_search(place: Path) -> None:
    path = place / "killed/search.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"judges": 3, "ragdist": "99.0.0"}))


def newer_trial(place: Path) -> None:
    path = place / "killed/trials/0000/trial.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parent": 3}))


GENERATE = ["ragdist.generate", "finished"]
TRAIN = ["ragdist.train", "--out=unfinished"]
CHECK = ["ragdist.shards", "check", "shards", "--processes=1"]


@pytest.mark.parametrize(
    ("make", "argv", "says"),
    [
        (newer_generator, GENERATE, "(network.norm)"),
        (newer_generator_format, GENERATE, "as ragdist-generator version 9"),
        (newer_samples, GENERATE, "by ragdist 99.0.0 and says what this one"),
        (newer_checkpoint, TRAIN, "as ragdist-checkpoint version 9"),
        (newer_option, TRAIN, "(optim.ortho)"),
        (newer_index, CHECK, "as ragdist-index version 3"),
        (newer_shard, CHECK, "(seconds)"),
        (newer_spec, CHECK, "(spec.dtype)"),
        (newer_search, ["tune.search"], "by ragdist 99.0.0"),
        (newer_trial, ["tune.search"], "(parent)"),
    ],
)
def test_what_a_newer_version_wrote_is_one_line(tmp_path, make, argv, says):
    place = golden.copied(golden.VERSIONS[-1], tmp_path / golden.VERSIONS[-1])
    make(place)
    files = {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name != "lock"}
    words = search_words(place, "killed") if argv == ["tune.search"] else argv[1:]
    line = refused(command(argv[0], *words, cwd=place))
    assert "written by" in line
    assert says in line
    assert line.endswith("update ragdist")
    changed = [path.name for path, content in files.items() if path.read_bytes() != content]
    assert changed in ([], ["config.yaml"]), "nothing is lost"


def test_a_newer_classifier_is_not_overwritten(tmp_path):
    place = golden.copied(golden.VERSIONS[-1], tmp_path / golden.VERSIONS[-1])
    (packed,) = place.glob("classifier-*.gz")
    file = place / "shards" / packed.stem
    file.write_bytes(gzip.decompress(packed.read_bytes()))
    content = file.read_bytes()
    about = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["ragdist"])
    rewrite(file, about | {"version": 9})
    content = file.read_bytes()
    with pytest.raises(TooNew, match="as ragdist-classifier version 9"):
        classifier(DataSet(str(place / "shards"), place / "cache"), place / "cache")
    assert file.read_bytes() == content


@pytest.mark.parametrize("module", [checkpoint, generator_file])
def test_older_forms_are_read(place, monkeypatch, module):
    monkeypatch.setattr(module, "VERSION", 7)
    assert generator_file.load(place / "finished/generator.safetensors", CPU).about["samples"] == 3200
    found, broken = checkpoint.load_newest(place / "finished/checkpoints", CPU)
    assert (found.state["samples"], broken) == (3200, [])
    shutil.rmtree(place)
