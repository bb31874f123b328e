"""Who holds a lock is alone, until it lets go or dies; where there are none that is said, and the later one goes on."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ragdist.runs.open import run_at
from ragdist.storage.locks import Busy, locked, locked_folder
from ragdist.tools.errors import Unreachable, UserError
from tests import without_flock
from tests.conftest import TINY

HOLD = """
import sys
from pathlib import Path
from ragdist.storage.locks import locked
with locked(Path(sys.argv[1]), "a note"):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path, holder):
    who = f"process {holder.pid} on {socket.gethostname()}"
    for _ in range(2):  # asking does not take the name away
        with pytest.raises(Busy, match=who), locked(tmp_path / "lock"):
            pass
    with pytest.raises(Unreachable, match=f"{tmp_path} is in use by {who}: wait for it"), locked_folder(tmp_path, "it"):
        pass
    assert (tmp_path / "lock").read_text() == f"{who}\na note\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on")


def test_waiting_for_another_process(tmp_path, holder):
    began = time.monotonic()
    with pytest.raises(Busy), locked(tmp_path / "lock", seconds=0.3):
        pass
    assert time.monotonic() - began >= 0.3
    asked = []
    with (
        pytest.raises(Busy),
        locked(tmp_path / "lock", seconds=math.inf, unless=lambda: asked.append(1) or len(asked) > 2),
    ):
        pass
    threading.Timer(0.2, holder.stdin.close).start()
    with locked(tmp_path / "lock", seconds=math.inf):
        pass


def test_two_threads_of_a_process_are_two(tmp_path):
    with locked(tmp_path / "lock"):
        found = []

        def other() -> None:
            try:
                with locked(tmp_path / "lock"):
                    found.append("got it")
            except Busy as error:
                found.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [f"process {os.getpid()} on {socket.gethostname()}"]


def test_a_process_that_was_started_meanwhile_does_not_hold_it_on(tmp_path):
    with locked(tmp_path / "lock"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with locked(tmp_path / "lock"):
        pass
    child.communicate(b"\n")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the run to .*: a part of the path is a file"):
        locked_folder(tmp_path / "file" / "run", "the run").__enter__()


def test_a_lock_of_the_version_before_is_one(tmp_path):
    """It wrote the same text into the same file, under the same lock."""
    import fcntl

    with open(tmp_path / "lock", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write("process 7 on earlier\ntoken\n")
        file.flush()
        with pytest.raises(Unreachable, match="in use by process 7 on earlier"), locked_folder(tmp_path, "it"):
            pass
        assert run_at(str(tmp_path)).token() == "token"
    with locked_folder(tmp_path, "it", "another"):
        assert run_at(str(tmp_path)).token() == "another"


TWICE = """
import sys
from pathlib import Path
from ragdist.storage.locks import locked
for name in ("a", "b"):
    with locked(Path(sys.argv[1]) / name, "note"):
        print((Path(sys.argv[1]) / name).read_text().splitlines()[1])
"""
needs_filter = pytest.mark.skipif(not without_flock.possible(), reason="only Linux can be told to refuse system calls")


def without(*command: object) -> list[str]:
    start = "import runpy, sys; from tests.without_flock import refuse; refuse(); "
    return [sys.executable, "-c", start + command[0], *map(str, command[1:])]


@needs_filter
def test_a_file_system_without_locks_is_warned_of_once(tmp_path):
    result = subprocess.run(without(TWICE, tmp_path), capture_output=True, text=True)
    assert result.stdout == "note\nnote\n", result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"warning: {tmp_path} is on a file system without locks (Operation not supported)")


AT_ONCE = """
import sys, time
from pathlib import Path
from ragdist.storage.locks import locked_folder
from ragdist.tools.errors import UserError
time.sleep(float(sys.argv[2]) - time.time())
try:
    with locked_folder(Path(sys.argv[1]), "it", sys.argv[3]):
        time.sleep(0.5)
        print("went on as " + (Path(sys.argv[1]) / "lock").read_text().splitlines()[1])
except UserError as error:
    print(error)
"""


@needs_filter
def test_without_locks_one_of_those_that_begin_at_one_moment_goes_on(tmp_path):
    moment, pipes = time.time() + 2, {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [subprocess.Popen(without(AT_ONCE, tmp_path, moment, number), **pipes) for number in range(4)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    (winner,) = [number for number, line in enumerate(said) if line == f"went on as {number}\n"]
    who = f"{tmp_path} is in use by process {processes[winner].pid} on {socket.gethostname()}"
    assert all(line.startswith(who) for number, line in enumerate(said) if number != winner), said


@needs_filter
def test_without_locks_the_earlier_of_two_runs_stops_before_its_next_checkpoint(tmp_path, digits):
    command = [sys.executable, "-m", "tests.without_flock", "ragdist.train", *TINY, f"--data={digits}", "--device=cpu"]
    command += [f"--out={tmp_path / 'run'}", "--samples=32000000", "--checkpoint.every=3200", "--monitor.seconds=1000"]
    root = Path(__file__).parents[1]
    runs = []
    try:
        for _ in range(2):
            runs.append(subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            token, end = run_at(str(tmp_path / "run")).token, time.monotonic() + 120
            before = token() if len(runs) == 2 else None
            while token() == before or not list((tmp_path / "run" / "checkpoints").glob("samples-*")):
                assert time.monotonic() < end
                assert runs[-1].poll() is None, runs[-1].communicate()
                time.sleep(0.05)
        _, errors = runs[0].communicate(timeout=120)
        assert runs[0].returncode == 2, errors
        warning, error = [line for line in errors.splitlines() if line.startswith(("warning", "error"))]
        assert warning.startswith(f"warning: {tmp_path / 'run'} is on a file system without locks")
        assert error.startswith("error: another process took this run over")
        while "L_G" not in (line := runs[1].stdout.readline()):  # it trains
            assert line, runs[1].communicate()
        runs[1].send_signal(signal.SIGINT)
        output, errors = runs[1].communicate(timeout=120)
        assert runs[1].returncode == 130, errors
        assert "the same command continues" in output
    finally:
        for run in runs:
            run.kill()
            run.wait()
