"""``ragdist.evaluate --workers``: the figures of one process, and no process that outlives what it was for."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import TINY, begin, command, refused
from tests.zygote import Command

LONG = ["--samples=50_000_000", "--metrics=frechet", "--workers=3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits) -> Path:
    """A folder with a tiny run."""
    cwd = tmp_path_factory.mktemp("workers")
    options = [f"--data={digits}", "--out=run", "--images=320", "--monitor.tensorboard=false"]
    result = command("ragdist.train", *TINY, *options, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd


def options(*more: str) -> list[str]:
    return ["run", "--features=pixels", "--device=cpu", "--cache=cache", *more]


def figures(out: Path) -> dict[str, float]:
    content = json.loads((out / "evaluation.json").read_text())
    return {name: figure["value"] for name, figure in content["figures"].items()}


def test_the_figures_are_those_of_one_process(place):
    found = {}
    for workers in (1, 2):
        more = [f"--workers={workers}", f"--out=of{workers}", f"--cache=cache{workers}", "--samples=700"]
        result = command("ragdist.evaluate", *options(*more), cwd=place)
        assert result.returncode == 0, result.stderr
        assert "report: " in result.stdout
        found[workers] = figures(place / f"of{workers}")
    assert len(found[1]) > 12
    assert found[2] == pytest.approx(found[1], rel=1e-6, abs=1e-9)


def begun(place: Path, *, met: bool) -> tuple[Command, list[psutil.Process]]:
    """A command that takes long, and its two other workers: just started, or connected with each other."""
    running = begin("ragdist.evaluate", *options(*LONG), cwd=place)
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert running.poll() is None, running.communicate()
        children = psutil.Process(running.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        if len(workers) == 2 and (not met or all(worker.net_connections() for worker in workers)):
            return running, workers
        time.sleep(0.05)
    raise AssertionError("the workers did not meet")


@pytest.mark.parametrize("met", [False, True])
def test_a_killed_worker_is_named(place, met):
    """Before they have met, and while they work."""
    running, workers = begun(place, met=met)
    workers[1].kill()
    _, said = running.communicate(60)
    assert running.returncode == 2
    (line,) = said.splitlines()
    assert line.startswith("error: worker 2 of 3 was killed (SIGKILL)")
    assert not psutil.wait_procs(workers, timeout=10)[1]


def test_ctrl_c_ends_all_in_one_word(place):
    running, workers = begun(place, met=True)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(60)
    assert (running.returncode, said) == (130, "interrupted\n")
    assert not psutil.wait_procs(workers, timeout=10)[1]


def test_no_worker_outlives_the_command(place):
    running, workers = begun(place, met=True)
    running.kill()
    assert not psutil.wait_procs(workers, timeout=60)[1]


def test_mistakes_of_several_are_one_line(place):
    assert "3 samples are too few" in refused(
        command("ragdist.evaluate", *options("--samples=3", "--workers=2"), cwd=place)
    )
