"""Where there is no Ray for the platform or the Python, all goes on that needs none; the rest says so in a line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY, command, refused

ROOT = Path(__file__).parents[1]


@pytest.fixture
def without(tmp_path) -> dict[str, str]:
    """An environment in which `import ray` fails, in every process."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text("import sys\nsys.modules['ray'] = None\n")
    paths = [str(tmp_path / "hidden"), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(paths), "RAY_ADDRESS": ""}


def test_a_run_trains_in_its_own_process(without, digits, tmp_path):
    hidden = subprocess.run([sys.executable, "-c", "import ray"], env=os.environ | without, capture_output=True)
    assert b"ModuleNotFoundError" in hidden.stderr
    place = [f"--data={digits}", f"--out={tmp_path / 'run'}", "--samples=128", "--workers=auto"]
    trained = command("ragdist.train", *TINY, *place, "--data.loader_workers=1", cwd=tmp_path, **without)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((tmp_path / "run/summary.json").read_text())["samples"] == 128
    sampled = command("ragdist.generate", "run", "--n=4", "--out=grid.png", cwd=tmp_path, **without)
    assert sampled.returncode == 0, sampled.stderr


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["ragdist.train", "--workers=2"], "--workers 2 needs Ray, which is not installed here: pip install"),
        (["ragdist.doctor"], "the doctor needs Ray"),
        (["tune.search"], "a search needs Ray"),
    ],
)
def test_what_needs_ray_says_so_in_a_line(words, what, without, tmp_path):
    assert what in refused(command(*words, cwd=tmp_path, **without))
    assert not [path for path in tmp_path.iterdir() if path.name != "hidden"], "it left something behind"


def test_a_named_cluster_is_not_passed_over(without, tmp_path):
    result = command("ragdist.train", cwd=tmp_path, **without | {"RAY_ADDRESS": "10.1.2.3:6379"})
    assert "--workers auto needs Ray" in refused(result)
