"""Standard streams that are closed, full, unread, of another encoding: output is lost, and the work is not."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ragdist import generate, shards, train
from tests import plugin
from tests.conftest import command, plugins_of_a_test, refused_here
from tests.driven import CHECKOUT

# A command that prints what has characters of its own, starts a process that prints, and writes a file.
COMMAND = """
import os, subprocess, sys
from ragdist.tools.errors import UserError, run_command

def main():
    print("a café", os.fsdecode(b"\\xe9"), flush=True)
    print("a warning", file=sys.stderr)
    for name in ("stdout", "stderr"):  # libraries ask for these
        stream = getattr(sys, name)
        assert stream.name in (f"<{name}>", os.devnull) and stream.mode == "w" and not stream.isatty()
    sys.stdin.read()
    with open("work", "w") as file:
        subprocess.run(["sh", "-c", "echo a child 2>&-; cat"], stdout=1)
        file.write("done" * 5000)
        print("more\\n" * 20_000)
    if sys.argv[1:] == ["mistaken"]:
        raise UserError("no")
    if sys.argv[1:] == ["as help does"]:
        sys.exit(0)
    return int(sys.argv[1]) if sys.argv[1:] else None

run_command(main)
"""


def run(redirected: str, folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """The command in a shell: its exit code and what it wrote."""
    script = folder / "command.py"
    script.write_text(COMMAND)
    line = f'"$@" {redirected}'
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}", "bash", sys.executable, script, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    out, err = result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")
    assert "Traceback" not in err
    assert (folder / "work").read_text() == "done" * 5000
    return result.returncode, out, err


FULL = "error: standard output cannot be written (No space left on device)"


@pytest.mark.parametrize(("redirected", "code", "says"), [
    ("", 0, "a warning\n"),
    (">&-", 0, "a warning\n"),
    ("2>&-", 0, ""),
    (">&- 2>&-", 0, ""),
    ("<&-", 0, "a warning\n"),
    ("<&- >&- 2>&-", 0, ""),
    ("| head -1", 141, "a warning\n"),
    (">/dev/full", 2, FULL),
    ("2>/dev/full", 2, ""),
    (">/dev/full 2>&1", 2, ""),
    ("1</dev/null", 2, "standard output cannot be written (Bad file descriptor)"),
])  # fmt: skip
def test_work_is_done_whatever_becomes_of_the_output(redirected, code, says, tmp_path):
    found, out, err = run(redirected, tmp_path)
    assert found == code
    assert says in err
    assert ("error" in err) == ("cannot" in says)
    if redirected in ("", "2>&-", "<&-", "2>/dev/full"):
        assert out.startswith("a café \\udce9\n")
        assert out.endswith("more\n\n")
        assert "a child" in out


def test_a_commands_own_exit_code_stands(tmp_path):
    assert run(">/dev/full", tmp_path, "1")[0] == 1
    code, _, err = run(">/dev/full", tmp_path, "as help does")
    assert code == 2
    assert err.splitlines()[1].startswith(FULL)
    code, _, err = run(">/dev/full", tmp_path, "mistaken")
    assert (code, err.splitlines()[1]) == (2, "error: no")
    assert FULL in err


@pytest.mark.parametrize(("environment", "printed"), [
    ({"PYTHONIOENCODING": "ascii"}, r"a caf\xe9 \udce9"),
    ({"PYTHONIOENCODING": "ascii:replace"}, "a caf? ?"),
    ({"PYTHONIOENCODING": "cp1252", "PYTHONUNBUFFERED": "1"}, "a caf\ufffd \\udce9"),
    ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, r"a caf\xe9 \udce9"),
])  # fmt: skip
def test_characters_that_an_encoding_lacks_are_escaped(environment, printed, tmp_path):
    code, out, _ = run("", tmp_path, **environment)
    assert (code, out.splitlines()[0]) == (0, printed)


def test_output_waits_for_a_reader_where_the_stream_does_not(tmp_path):
    """A pipe that another process has made non-blocking."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    text = "from ragdist.tools.errors import run_command\nrun_command(lambda: print('x' * 300_000))"
    process = subprocess.Popen([sys.executable, "-c", text], cwd=CHECKOUT, stdout=write)
    os.close(write)
    with open(read, "rb") as file:
        assert len(file.read()) == 300_001
    assert process.wait() == 0


def test_a_working_directory_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'cd {gone} && rmdir {gone} && "$@"'
    text = "from ragdist.tools.errors import run_command; run_command(lambda: None)"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    result = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-c", text], env=environment, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (
        2,
        "error: the working directory is gone: change to one that is there\n",
    )


def test_commands_to_type_next_have_quoted_paths(tmp_path, capsys):
    """Each one that is printed is read by a shell as it is meant."""
    out = tmp_path / "it's all $HOME"
    with plugins_of_a_test():
        shards.main([f"--plugin={plugin.__file__}", "digits", str(out)])
    *_, said = capsys.readouterr().out.splitlines()
    words = shlex.split(said.removeprefix("next: "))
    assert words[words.index("--data") + 1] == str(out)
    (out / "index.json").unlink()
    for place in (out, tmp_path / "no & where"):
        assert shlex.split(refused_here(shards.main, "stats", place).split("`")[1])[-1] == str(place)


def test_a_name_that_is_no_text_is_read_from_and_not_written_to(tmp_path, digits):
    """Bytes of another encoding than UTF-8, as a terminal or an old archive gives them."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    says = "caf\udce9: it is not UTF-8: choose another name, or rename it"
    for main, *words in (
        (train.main, f"--data={digits}", f"--out={odd}"),
        (shards.main, "digits", odd),
        (generate.main, odd),
    ):
        assert says in refused_here(main, *words)
    shutil.copytree(digits, odd)
    result = command("ragdist.shards", "check", odd, cwd=tmp_path)
    assert result.stdout.endswith("caf\\udce9: all is well: 1,797 samples in 3 shards\n"), result


@pytest.mark.parametrize(("environment", "body", "says"), [
    ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "open('caf\\u00e9')",
     "error: a name is not of the locale's encoding, ascii: set PYTHONUTF8=1\n"),
    ({"HOME": ""}, "del os.environ['HOME']; os.getuid = lambda: 2**31; pathlib.Path('~').expanduser()",
     "error: there is no home folder for this user: set HOME to one\n"),
])  # fmt: skip
def test_an_environment_that_lacks_something_is_one_line(environment, body, says, tmp_path):
    result = in_environment(environment, body, tmp_path)
    assert (result.returncode, result.stderr) == (2, says)


def test_an_error_of_ours_is_not_blamed_on_the_environment(tmp_path):
    body = "del os.environ['HOME']; os.getuid = lambda: 2**31; raise RuntimeError"
    result = in_environment({}, body, tmp_path)
    assert result.returncode == 1
    assert result.stderr.endswith("\nRuntimeError\n")


def in_environment(environment: dict[str, str], body: str, folder: Path) -> subprocess.CompletedProcess:
    text = (
        f"import os, pathlib\nfrom ragdist.tools.errors import run_command\ndef main():\n    {body}\nrun_command(main)"
    )
    whole = os.environ | {"PYTHONPATH": str(CHECKOUT)} | environment
    return subprocess.run([sys.executable, "-c", text], cwd=folder, env=whole, capture_output=True, text=True)
