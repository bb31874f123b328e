"""Plugins and installed packages in Ray's processes, which have neither the plugin's file nor its path."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from ragdist.tools import plugins
from tests import plugin, warm
from tests.conftest import TINY, refused
from tune.folder import SearchFolder

pytest.importorskip("ray", reason="needs Ray")
pytestmark = pytest.mark.cluster

SMALL = [word for word in TINY if not word.startswith("--network.family")]
QUIET = {"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1", "COLUMNS": "200", **warm.SETTINGS}


def ran(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess:
    """Run a command with a private Ray, the packages in the working directory installed."""
    path = os.pathsep.join(filter(None, (str(cwd), os.environ.get("PYTHONPATH"))))
    environment = os.environ | QUIET | {"PYTHONPATH": path}
    environment.pop("RAY_ADDRESS", None)
    argv = [warm.python(), "-m", *words]
    result = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == code, result.stdout + result.stderr
    return result


def test_two_workers_train_with_a_plugin_and_a_package(tmp_path, digits):
    plugin.install(tmp_path)
    plugin.write(tmp_path, plugin.GOES)
    argv = ["ragdist.train", *SMALL, f"--data={digits}", "--out=run", "--workers=2", "--cpus_per_worker=1"]
    argv += ["--network.family=mine", "--objective.pairing=twice", "--objective.adversarial=toy_loss", "--samples=128"]
    ran(*argv, "--plugin=my.py", cwd=tmp_path)
    assert not (tmp_path / "my.py").exists(), "the driver's is gone before the workers begin"
    (checkpoint,) = (tmp_path / "run/checkpoints").iterdir()
    found = json.loads((checkpoint / "meta.json").read_text())
    assert (found["world_size"], found["samples"]) == (2, 128)
    assert found["plugins"] == {"my.py": plugins.Plugin("", plugin.GOES).sha256}
    assert found["packages"] == {"objective.adversarial": "toys 1.2"}


def test_a_search_has_its_plugin_in_trials_and_is_another_one_with_another_plugin(tmp_path, digits):
    plugin.write(tmp_path, plugin.GOES)
    argv = ["tune.search", *SMALL, *plugin.CHOICES, f"--data={digits}", "--out=found", "--samples=96"]
    argv += ["--features=means", "--metric=brightness", "--samples=64", "--trials=2", "--plugin=my.py"]
    ran(*argv, cwd=tmp_path)
    trials = SearchFolder(tmp_path / "found").read()
    assert [trial.state for trial in trials] == ["finished"] * 2, [trial.reason for trial in trials]
    assert json.loads((tmp_path / "found/search.json").read_text())["plugins"].keys() == {"my.py"}
    plugin.write(tmp_path)
    said = refused(ran(*argv, cwd=tmp_path, code=2))
    assert "found holds another search (the plugin my.py was changed (" in said


def test_trials_on_ray_workers_have_the_plugin_of_the_search(tmp_path, digits):
    plugin.write(tmp_path, plugin.GOES)
    argv = ["tune.search", *SMALL, *plugin.CHOICES, f"--data={digits}", "--out=found", "--samples=96", "--plugin=my.py"]
    argv += ["--features=means", "--metric=brightness", "--samples=64", "--trials=1", "--objective.lam=0"]
    ran(*argv, "--budget_samples=32", "--workers_per_trial=1", "--cpus_per_worker=1", cwd=tmp_path)
    (trial,) = SearchFolder(tmp_path / "found").read()
    assert (trial.state, trial.seen) == ("finished", 32), trial.reason
    assert not (tmp_path / "my.py").exists()
