"""What starts warm is what would start cold."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import warm
from tests.fork_server import WARM, ForkServer

LOOK = """
import json, os, sys
print(json.dumps([sys.argv, sys.path[0], os.getcwd(), os.environ["COLOUR"], os.getpriority(os.PRIO_PROCESS, 0),
                  os.environ["PYTHONPATH"] in sys.path, "ragdist" in sys.modules, os.read(int(sys.argv[-1]), 9).decode(),
                  __name__, sys.stdin.read()]))
sys.exit(7)
"""


def ways(folder: Path) -> list[list[str]]:
    (folder / "script.py").write_text(LOOK)
    return [["-c", LOOK], [str(folder / "script.py")], ["-m", "script"]]


@pytest.mark.parametrize("way", range(3))
def test_it_is_the_process_that_a_cold_one_is(tmp_path, way):
    said = []
    for python in (sys.executable, warm.python()):
        reads, writes = os.pipe()
        os.write(writes, b"inherited")
        process = subprocess.run(
            [python, *ways(tmp_path)[way], "a b", "", str(reads)],
            cwd=tmp_path,
            env=os.environ | {"COLOUR": "blue", "PYTHONPATH": "/some/where", "PYTHONSAFEPATH": ""},
            pass_fds=[reads],
            input="typed",
            capture_output=True,
            text=True,
            preexec_fn=lambda: os.nice(3),
        )
        said.append((json.loads(process.stdout), process.stderr, process.returncode))
        os.close(reads)
        os.close(writes)
    cold, hot = said
    cold[0][0][-1] = hot[0][0][-1]  # the number of the pipe
    assert hot == cold


@pytest.mark.parametrize(
    "code", ["raise SystemExit('enough')", "1 / 0", "import os; os.kill(os.getpid(), 9)", "", "x ="]
)
def test_it_ends_as_a_cold_one_does(code):
    cold, hot = (
        subprocess.run([python, "-c", code], stderr=subprocess.PIPE) for python in (sys.executable, warm.python())
    )
    assert hot.returncode == cold.returncode
    assert hot.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


@pytest.mark.skipif(not WARM, reason="nothing is waited for")
def test_a_server_that_died_is_not_waited_for():
    server = ForkServer("no_such_module")
    began = time.monotonic()
    with pytest.raises(AssertionError, match="the fork server died"):
        server.interpreter()
    assert time.monotonic() - began < 60
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_goes_with_its_launcher(number):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    process = subprocess.Popen([warm.python(), "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert pid != process.pid
    process.send_signal(number)
    assert process.wait(60) == -number
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_other_options_start_cold():
    said = subprocess.run(
        [warm.python(), "-I", "-c", "import sys; print(sys.flags.isolated)"], capture_output=True, text=True
    )
    assert said.stdout == "1\n"
