"""Searches as a user runs them: killed and continued, with a trial that diverges; on Ray workers; mistakes."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ragdist.config import settings
from ragdist.metrics import FEATURES
from ragdist.tools.errors import UserError
from tests import golden, warm
from tests.conftest import TINY, command, plugins_of_a_test
from tests.test_capacity import node
from tune import search
from tune.folder import SearchFolder

SEARCH = "tune.search"
# λ, and a rate with which the first update already is not finite: four points of a grid beside two baselines.
SPACE = {"objective.lam": {"choice": [0.1, 3.0]}, "optim.g_lr": {"choice": [0.001, 1e20]}}
QUIET = {"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1", "COLUMNS": "200", **warm.SETTINGS}
starts_ray = pytest.mark.cluster


def options(digits: Path, *more: str) -> list[str]:
    few = [
        "--images=3072",
        "--samples=300",
        "--features=pixels",
        "--optim.max_skipped=2",
        "--monitor.tensorboard=false",
        "--trials=6",
    ]
    return [*TINY, *few, f"--data={digits}", "--out=found", *more]


@pytest.fixture(scope="module")
def searched(tmp_path_factory, digits):
    """A search that was killed when its first trials had ended, and its folder before and after it was continued."""
    cwd = tmp_path_factory.mktemp("search")
    (cwd / "space.yaml").write_text(yaml.safe_dump(SPACE))
    argv = options(digits, "--search=grid", "--space=space.yaml", "--seeds=2")
    log = (cwd / "killed.log").open("w")
    process = subprocess.Popen(
        [warm.python(), "-m", SEARCH, *argv], cwd=cwd, env=os.environ | QUIET, stdout=log, stderr=log
    )
    place = SearchFolder(cwd / "found")
    end = time.monotonic() + 300
    try:
        while not any(trial.state == "finished" for trial in place.read() if place.trials.exists()):
            assert process.poll() is None, (cwd / "killed.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {trial.number: trial for trial in place.read()}
    return cwd, argv, before, searching(argv, cwd)


def searching(argv: list[str], cwd: Path) -> subprocess.CompletedProcess:
    argv = [warm.python(), "-m", SEARCH, *argv]
    return subprocess.run(argv, cwd=cwd, env=os.environ | QUIET, capture_output=True, text=True, timeout=600)


@starts_ray
def test_a_killed_search_goes_on_with_the_same_command(searched):
    cwd, _, before, result = searched
    assert result.returncode == 0, result.stdout + result.stderr
    after = {trial.number: trial for trial in SearchFolder(cwd / "found").read()}
    assert sorted(after) == list(range(6))
    ended = [number for number, trial in before.items() if trial.state != "running"]
    assert 0 < len(ended) < 6, "it was killed in its midst"
    for number in ended:
        assert after[number] == before[number], "what had ended was not touched"
    for number, trial in before.items():
        assert after[number].rungs[: len(trial.rungs)] == trial.rungs, "rungs that were reached were not climbed again"
    assert [after[n].name for n in (0, 1)] == ["default", "lambda 0"]
    assert [after[n].state for n in (0, 1)] == ["finished", "finished"]


@starts_ray
@pytest.mark.parametrize("version", golden.VERSIONS)
def test_a_search_that_an_earlier_version_began_goes_on_with_the_same_command(version, tmp_path):
    place = golden.copied(version, tmp_path / version)
    (said,) = (words for words in golden.about(version)["commands"] if "--out=killed" in words.split())
    whole, before = (SearchFolder(place / name).read() for name in ("searched", "killed"))
    if version == golden.VERSIONS[-1]:  # first one of its trials cannot be made
        obstacle = place / "killed/trials/0002/seed-0"
        obstacle.parent.mkdir()
        obstacle.write_text("no folder")
        result = command(*said.split(), cwd=place, **QUIET)
        assert result.returncode == 1, result.stdout + result.stderr
        assert re.search(r"^3 trials in .*: 2 finished, 1 crashed\n", result.stdout, re.MULTILINE), result.stdout
        assert re.search(r"^crashed:     trial 2: .+\. The same command tries again$", result.stdout, re.MULTILINE)
        assert "train on it: " in result.stdout
        obstacle.unlink()
    result = command(*said.split(), cwd=place, **QUIET)
    assert result.returncode == 0, result.stdout + result.stderr
    after = SearchFolder(place / "killed").read()
    assert after[0] == before[0]
    assert after[1].rungs[:1] == before[1].rungs
    assert [trial.state for trial in after] == ["finished"] * 3
    assert [trial.options for trial in after] == [trial.options for trial in whole]
    assert [trial.value for trial in after] == pytest.approx([trial.value for trial in whole], rel=0.1)


@starts_ray
def test_a_trial_that_diverges_has_its_reason(searched):
    cwd, *_ = searched
    for trial in SearchFolder(cwd / "found").read():
        assert (trial.state == "diverged") == (trial.options["optim.g_lr"] == 1e20)
        assert ("not finite" in trial.reason) == (trial.state == "diverged")


@starts_ray
def test_it_shows_a_table_and_a_summary_and_nothing_of_ray(searched):
    cwd, _, _, result = searched
    assert result.stderr == ""
    assert re.search(r"\s+5 +3 +1e\+20 +0 +diverged: .*not finite", result.stdout), result.stdout
    for known in (r"^  default +[\d.]+ \([\d.]+ to [\d.]+\)  trial 0: lambda 1  g_lr 0.0005$", r"^  lambda 0 "):
        assert re.search(known, result.stdout, re.MULTILINE), result.stdout
    for noise in ("ray", "Ray", "WARNING", "(pid", "Trial status"):
        assert noise not in result.stdout + (cwd / "killed.log").read_text()


@starts_ray
def test_it_leaves_a_table_a_page_and_curves(searched):
    cwd, *_ = searched
    trials = SearchFolder(cwd / "found").read()
    rows = list(csv.DictReader((cwd / "found/trials.csv").open()))
    assert [row["state"] for row in rows] == [trial.state for trial in trials]
    assert float(rows[0]["frechet_distance"]) == trials[0].value
    assert float(rows[0]["frechet_distance_1024_seed1"]) == trials[0].rungs[-1].values[1]
    page = (cwd / "found/report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page), "all is inside"
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(re.findall(r'id="([^"]*)"', page))
    for title in ("Outcome", "over the options", "Parallel coordinates", "Learning curves", "Samples", "All trials"):
        assert title in page
    assert page.count("<img") >= 2
    assert page.count("<svg") >= 4

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(cwd / "found/tensorboard/0000")).Reload()
    scalars = board.Scalars("search/frechet_distance")
    assert [(s.step, s.value) for s in scalars] == [(r.samples, pytest.approx(r.value)) for r in trials[0].rungs]
    assert "_hparams_/session_start_info" in board.summary_metadata


@starts_ray
def test_the_best_configuration_is_one_that_the_trainer_takes(searched):
    cwd, *_ = searched
    trials = SearchFolder(cwd / "found").read()
    best = min((trial for trial in trials if trial.state == "finished"), key=lambda trial: trial.value)
    trained = command(
        "ragdist.train", "--config=found/best.yaml", "--out=run", "--samples=64", cwd=cwd, OMP_NUM_THREADS="1"
    )
    assert trained.returncode == 0, trained.stderr
    config = settings.read(cwd / "run/config.yaml")
    assert {name: config[name] for name in best.options} == best.options
    assert config["network.g_width"] == 32
    whole = yaml.safe_load((cwd / "found/best.yaml").read_text())
    assert (whole["samples"], whole["seed"]) == (3072, 0)


@starts_ray
def test_a_finished_search_is_told_again_and_is_no_other(searched, monkeypatch, capsys):
    cwd, argv, _, result = searched
    monkeypatch.chdir(cwd)
    assert search.main(argv) == 0
    assert result.stdout.partition("(less is better")[2] == capsys.readouterr().out.partition("(less is better")[2]
    (cwd / "space.yaml").write_text(yaml.safe_dump({"objective.lam": {"uniform": [0, 5]}}))
    with pytest.raises(UserError, match=r"found holds another search \(space .* or --overwrite to start anew$"):
        search.main(argv)


@starts_ray
def test_a_trial_may_be_a_run_on_ray_workers(tmp_path, digits):
    argv = options(digits, "--objective.lam=0", "--budget_samples=32", "--workers_per_trial=1", "--cpus_per_worker=1")
    argv[argv.index("--trials=6")] = "--trials=1"
    result = searching(argv, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    (trial,) = SearchFolder(tmp_path / "found").read()
    assert (trial.name, trial.state, trial.seen) == ("lambda 0", "finished", 32)
    assert "starting 1 worker, 1 CPU each" in (tmp_path / "found/trials/0000/seed-0.log").read_text()


@pytest.mark.parametrize(("argv", "says"), [
    (["--metric=xyzw"], "--metric xyzw: there is no such figure; there are: frechet_distance, kid, precision"),
    (["--metric=recal"], "--metric recal: there is no such figure; did you mean 'recall'? there are: frechet"),
    (["--trials=0"], "--trials 0: it must be at least 1"),
    (["--seeds=0"], "--seeds 0: it must be at least 1"),
    (["--space=nowhere.yaml"], "--space nowhere.yaml: it cannot be read (No such file or directory)"),
    (["--scheduler=pbt"], "--scheduler pbt is not offered"),
    (["--scheduler=ash"], "did you mean 'asha'?"),
    (["--workers=2"], "of a search say --workers_per_trial"),
    (["--workers_per_trial=two"], "--workers_per_trial two: it must be"),
    (["--workers_per_trial=auto"], "--workers_per_trial auto: say how many"),
    (["--trails=3"], "unknown option --trails; did you mean --trials?"),
    (["--lam=3"], "unknown option --lam; did you mean --objective.lam?"),
    (["--optim.g_lr=-1"], "--optim.g_lr -1.0: it must be above 0"),
    (["--out=s3://bucket/found"], "a search is kept in a folder"),
])  # fmt: skip
def test_mistakes(argv, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        search.parse(argv)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("argv", "says"), [
    (["--metric=inception_score"], "--metrics inception_score needs --features inception, not pixels"),
    (["--metric=label_accuracy", "--network.labels=false"], "--metric label_accuracy needs --network.labels true"),
    (["--samples=2", "--metric=coverage"], "2 samples are too few for the measure density_coverage, which needs 6"),
    (["--features=sunk"], "the kind of features 'sunk' of a plugin cannot be imported (ModuleNotFoundError"),
])  # fmt: skip
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_does_not_suit_the_data_is_refused_before_anything_is_written(
    argv, says, overwrite, tmp_path, digits, monkeypatch
):
    """Not even another search's folder is changed, which --overwrite would delete."""
    monkeypatch.chdir(tmp_path)
    if overwrite:
        golden.copied(golden.VERSIONS[0], tmp_path / "golden")
        (tmp_path / "golden/searched").rename(tmp_path / "found")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with plugins_of_a_test():
        FEATURES.add("sunk", "no_such_module:SUNK")
        with pytest.raises(UserError, match=re.escape(says)):
            search.main([*options(digits, *argv), *["--overwrite"] * overwrite])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_more_than_the_cluster_has_is_refused(tmp_path, monkeypatch, digits):
    from ragdist.launch.on_ray import cluster
    from tune.on_tune import Resources
    from tune.state import SearchState

    monkeypatch.setattr(cluster, "nodes", lambda: [node("head", 0), node("a", 8, 2), node("b", 8, 2)])
    monkeypatch.chdir(tmp_path)

    def resources(*argv):
        plan, out, _ = search.parse(options(digits, *argv))
        place = SearchFolder(out)
        place.trials.mkdir(parents=True, exist_ok=True)
        return Resources(SearchState(plan, place))

    assert resources().concurrent == 4
    assert resources("--concurrent=3").concurrent == 3
    assert resources("--gpus_per_worker=0").concurrent == 6, "no more than there are trials"
    assert resources("--workers_per_trial=2").concurrent == 2
    with pytest.raises(UserError, match=r"5 workers, each needs 4 CPU, 1 GPU, and the cluster .* 16 CPU, 4 GPU"):
        resources("--workers_per_trial=5")
    with pytest.raises(UserError, match="a trial needs 9 CPU, 1 GPU"):
        resources("--cpus_per_worker=9")


def test_help_needs_neither_pytorch_nor_ray(tmp_path):
    code = "import sys; from tune import search; print(sorted({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    result = command(SEARCH, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--workers_per_trial" in result.stdout
