"""The exit code of a command that Ctrl-C ends."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import os, signal, time
from ragdist.tools.errors import run_command

signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells have what they run beside them ignore

def main():
    {statement}

run_command(main)
"""
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"


@pytest.mark.parametrize("statement", [INTERRUPT, f"exec('import os, signal, time; {INTERRUPT}')"])
def test_it_is_130_wherever_the_signal_arrives(tmp_path, statement):
    """In code that is executed from a string, too, as dataclasses are made."""
    (tmp_path / "waits.py").write_text(COMMAND.format(statement=statement))
    checkout = Path(__file__).parents[1]
    argv = [sys.executable, "-m", "waits"]
    result = subprocess.run(argv, cwd=tmp_path, env={"PYTHONPATH": str(checkout)}, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "interrupted\n")
