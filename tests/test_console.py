"""What a run on Ray workers prints of its attempts, each thing once."""

import re
import time

import pytest

from ragdist.launch.on_ray.console import Console
from ragdist.launch.on_ray.mailbox import WorkerReport
from ragdist.tools.words import counted


def report(done: int, *lines: str, workers: int = 2, text: str = "") -> WorkerReport:
    at = {rank: {"node": f"n{rank}"} for rank in range(workers)}
    return WorkerReport(done, text, list(lines), at, None, None, None)


@pytest.fixture
def console():
    now = time.monotonic()
    console = Console(10_000, units="images", began=now - 3, ready=now - 1)
    yield console
    console.close()


def test_the_start_is_timed_once_and_lines_come_before_it(console, capsys):
    assert not console.show(report(-1, workers=1), 2)
    assert console.joined_at is None
    assert console.show(report(64, "hello"), 2)
    assert not console.show(report(64), 2)
    first, second, *others = capsys.readouterr().out.splitlines()
    assert first == "hello"
    whole, rays = map(
        float, re.fullmatch(r"training ([\d.]+) s after the start, of which Ray took ([\d.]+) s", second).groups()
    )
    assert whole >= 3
    assert 1 <= rays < whole - 1
    assert not [line for line in others if "after the start" in line]


def test_a_recovery_is_over_when_the_run_is_further_than_before(console, capsys):
    console.show(report(640), 2)
    console.failed()
    began = console.failed_at
    console.failed()
    assert console.failed_at == began, "a second failure goes on with the first one's time"
    assert not console.show(report(-1), 1)
    assert not console.show(report(320), 1)
    assert "training again" not in capsys.readouterr().out
    assert console.show(report(704), 1)
    assert re.search(
        r"^training again with 1 worker, [\d.]+ s after the failure$", capsys.readouterr().out, re.MULTILINE
    )
    assert console.show(report(768), 1)
    assert "training again" not in capsys.readouterr().out


def test_progress_shows_the_present_attempt(console, capsys):
    console.show(report(1_000, text="L_G 1"), 2)
    assert console.progress.done == 1_000
    console.show(report(500, text="L_G 2"), 2)  # it goes on from a checkpoint
    assert (console.progress.done, console.progress.text) == (500, "L_G 2")
    assert console.furthest == 1_000


def test_counts_of_workers():
    assert [counted(number, "worker") for number in (1, 2)] == ["1 worker", "2 workers"]
