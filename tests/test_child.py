"""A command that another process starts ends with it, however that ends, and loses nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ragdist.runs import checkpoint
from tests.conftest import TINY

TRIAL = """
import sys
from ragdist.config import settings
from tune import train_on_workers as remote
config, _ = settings.parse(sys.argv[1:], "trial")
remote.train(config, {}, lambda: False)
"""


def test_a_killed_trial_takes_its_run_with_it_which_leaves_a_checkpoint(tmp_path, digits):
    """As Ray kills a trial's process; on Ray workers its run would be a driver, here it trains itself."""
    run, log = tmp_path / "run", tmp_path / "run.log"
    options = [*TINY, f"--data={digits}", f"--out={run}", "--samples=32000000", "--device=cpu", "--workers=0"]
    options += ["--checkpoint.every=1600", "--monitor.seconds=1000"]
    trial = subprocess.Popen([sys.executable, "-c", TRIAL, *options], cwd=Path(__file__).parents[1])
    try:
        end = time.monotonic() + 120
        while not checkpoint.listed(run / "checkpoints"):
            assert time.monotonic() < end
            assert trial.poll() is None, log.read_text()
            time.sleep(0.05)
        (command,) = psutil.Process(trial.pid).children()
        assert "ragdist.train" in command.cmdline()
    finally:
        trial.kill()
        trial.wait()
    assert not psutil.wait_procs([command], timeout=60)[1], log.read_text()
    assert "the same command continues" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_the_commands_own_input_is_empty():
    """What is on its standard input is between its parent and `ragdist.tools.follow_parent`; SIGTERM comes when that ends."""
    command = [sys.executable, "-m", "ragdist.tools.follow_parent", "tests.says", "--one", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "'' ['says', '--one', '2']\n"
        started.stdin.close()
    assert started.returncode == -signal.SIGTERM


@pytest.mark.parametrize("preload", ["None", "[]"], ids=["spawned", "forked"])
def test_a_command_that_fails_does_not_wait_for_its_processes(preload):
    """They are deaf to what Python sends its daemons when it exits."""
    started = f"start_context({preload}).Process(target=time.sleep, args=(1000,), daemon=True).start()"
    code = f"import time; from ragdist.tools.follow_parent import start_context; {started}; raise KeyError('ours')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    assert result.stderr.endswith("KeyError: 'ours'\n")
