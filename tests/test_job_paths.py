"""Relative folders in a Ray job, whose working directory is deleted after it."""

from pathlib import Path

import pytest

from ragdist.launch.on_ray import job, ray_internals
from tests.conftest import TINY, command
from tune import run, search


@pytest.fixture
def working_directory(tmp_path) -> Path:
    """A job's, of a cluster of this node alone."""
    path = Path(f"{tmp_path}{ray_internals.WORKING_DIRECTORIES}_ray_pkg_0")
    path.mkdir(parents=True)
    return path


def test_a_run_outlives_the_job_in_the_home_folder(working_directory, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    options = ["--config=digits", *TINY, "--network.labels=false", "--workers=0", "--samples=64"]
    result = command("ragdist.train", *options, cwd=working_directory, HOME=str(home))
    assert result.returncode == 0, result.stdout + result.stderr
    for option, path in (("--data", "shards/digits"), ("--out", "runs/digits")):
        assert f"{option} {path}: in the home folder, {home / path}, for a Ray job's" in result.stdout
    assert (home / "runs/digits/summary.json").is_file()
    assert (home / "shards/digits/index.json").is_file()
    assert not list(working_directory.iterdir())


def test_a_search_outlives_the_job_and_what_is_absolute_stays(working_directory, tmp_path, digits, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(working_directory)
    plan, out, _ = search.parse([f"--data={digits}"])
    assert run._understood_everywhere(plan, out)[1] == tmp_path / "searches/digits"
    for where in ("s3://bucket/run", "/shared/run", ""):
        assert job.lasting_path(where, "--out", 1.0, pytest.fail) == where
    monkeypatch.chdir(tmp_path)
    assert job.lasting_path("runs/a", "--out", 1.0, pytest.fail) == "runs/a"
