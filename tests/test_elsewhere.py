"""The README's commands where there is nothing that Linux alone has: on a Mac as far as our own code can tell.

See elsewhere/sitecustomize.py, which all processes of these commands start with. What compiled libraries do on macOS it
cannot show.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY, command
from tests.fork_server import ForkServer

ROOT = Path(__file__).parents[1]
CODE = os.environ.get("ELSEWHERE_CODE", str(ROOT))  # other code than this, to see it fail
TRAIN = ["ragdist.train", *(option for option in TINY if "loader" not in option), "--data.loader_workers=1"]


PATH = os.pathsep.join([str(ROOT / "tests/elsewhere"), CODE])
ENVIRONMENT = os.environ | {"PYTHONPATH": PATH, "ELSEWHERE": "darwin"}


def elsewhere(*argv: str, cwd: Path) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *argv], cwd=cwd, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)


def said(process: subprocess.Popen) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, (process.args, output, errors)
    return output


@pytest.fixture(scope="module")
def ran():
    """Run a command from a server of its own, which has imported there; what it starts starts by itself."""
    server = ForkServer("tests.imported", ENVIRONMENT)

    def run(*argv: str, cwd: Path) -> str:
        result = server.run([*map(str, argv)], cwd, ENVIRONMENT, 300)
        assert result.returncode == 0, (argv, result.stdout, result.stderr)
        return result.stdout

    yield run
    server.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory, ran) -> Path:
    """A folder with a finished run of the default command."""
    place = tmp_path_factory.mktemp("elsewhere")
    output = ran(*TRAIN, "--samples=640", "--out=run", cwd=place)
    assert "640 images in" in output
    return place


def test_what_linux_alone_has_is_not_there(tmp_path):
    code = """
import ctypes, os, platform, sys
from pathlib import Path
print(sys.platform, hasattr(os, "sched_getaffinity"), Path("/proc/1").exists(), platform.libc_ver()[0])
for attempt in (lambda: open("/proc/self/stat"), lambda: os.listdir("/dev/shm"), lambda: ctypes.CDLL(None).prctl):
    try:
        print(attempt())
    except (OSError, AttributeError) as error:
        print(type(error).__name__)
"""
    output = said(elsewhere("-c", code, cwd=tmp_path))
    assert output.splitlines() == ["darwin False False ", "FileNotFoundError", "FileNotFoundError", "AttributeError"]


def test_a_run_goes_on_and_its_weights_are_those_of_linux(place, ran):
    ran(*TRAIN, "--samples=1280", "--out=run", cwd=place)
    here = command(*TRAIN, "--samples=1280", "--out=here", cwd=place)
    assert here.returncode == 0, here.stderr
    runs = [json.loads((place / name / "summary.json").read_text()) for name in ("run", "here")]
    assert runs[0]["weights_sha256"] == runs[1]["weights_sha256"]


def test_generate_and_evaluate_on_two_workers(place, ran):
    ran("ragdist.generate", "run", "--n=4", "--out=grid.png", cwd=place)
    output = ran(
        "ragdist.evaluate", "run", "--samples=128", "--workers=2", "--features=pixels", "--metrics=frechet", cwd=place
    )
    assert "evaluation.html" in output


def test_shards_are_made_and_checked_by_several_processes(tmp_path, ran):
    images = np.random.default_rng(0).integers(0, 256, (5000, 8, 8, 3), dtype=np.uint8)  # fewer would be one's work
    np.savez(tmp_path / "a.npz", images=images)
    ran("ragdist.shards", "a.npz", "made", "--shard_samples=2500", cwd=tmp_path)
    checked = ran("ragdist.shards", "check", "made", "--processes=2", cwd=tmp_path)
    assert "all is well: 5,000 samples in 2 shards" in checked


def test_what_a_living_process_writes_is_not_deleted(tmp_path):
    """By its name alone nobody can tell whether it lives; a checkpoint of two runs in one folder, as it were."""
    living = "import ragdist.tools.ownership as o; print(o.owner_name(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", living], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        names = [process.stdout.readline().strip(), "node7-4711"]
        for name in names:
            (tmp_path / f".part-samples-000000000032.{name}").mkdir()
        (tmp_path / f".part-samples-000000000032.{'0' * 12}-1-1").mkdir()
        old = time.time() - 100_000
        os.utime(tmp_path / f".part-samples-000000000032.{'0' * 12}-1-1", (old, old))
        code = "import pathlib, torch; from ragdist.runs import checkpoint as c; c.save(pathlib.Path(), 64, {}, {}, keep=1)"
        said(elsewhere("-c", code, cwd=tmp_path))
        process.stdin.close()
    left = {path.name.partition(".part-samples-000000000032.")[2] for path in tmp_path.glob(".part*")}
    assert left == set(names)


def test_the_commands_that_use_ray_start(tmp_path):
    started = [elsewhere("-m", module, "--help", cwd=tmp_path) for module in ("ragdist.doctor", "tune.search")]
    assert all("usage" in said(process) for process in started)
    imported = "import tune.run, tune.train_here, tune.train_on_workers, tune.rung, ragdist.distributed.local_workers, ragdist.tools.memory as memory; "
    said(elsewhere("-c", imported + "assert not memory.keep_freed_memory()", cwd=tmp_path))
