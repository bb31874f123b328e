"""Progress and a search's table, on a terminal and elsewhere."""

import os
import pty
import re
import subprocess
import sys

import pytest

COUNT = """
import sys, time
from contextlib import closing
from ragdist.tools.progress import Progress
with closing(Progress(3000, unit="images", done=1000)) as progress:
    for _ in range(4):
        progress.advance(500)
        progress.describe("<L_G> [bold]1.0")
        progress.say("a line [red]" + "." * 90)
        print("printed by another")
        time.sleep(0.3)
"""
ESCAPE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")


def on_terminal(program: str, cwd, **environment: str) -> str:
    """What a program writes to a terminal of 80 columns and 24 lines."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", **environment}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=cwd, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


def test_a_terminal_has_one_live_line_below_what_is_printed(tmp_path):
    written = on_terminal(COUNT, tmp_path)
    lines = [line.rpartition("\r")[2].rstrip() for line in ESCAPE.sub("", written.replace("\r\n", "\n")).split("\n")]
    assert re.fullmatch(r"3,000/3,000 images  \d[\d,]* images/s  ETA 00:00  <L_G> \[bold\]1\.0", lines[-2])
    assert written.count("printed by another") == 4
    assert written.count("a line [red]" + "." * 90 + "\r\n") == 4
    assert written.rindex("\x1b[?25h") > written.rfind("\x1b[?25l"), "the cursor is there"
    counts = re.findall(r"([\d,]+)/3,000 images", written)
    assert (counts[0], counts[-1]) == ("1,000", "3,000")
    assert sum("/3,000" in line for line in lines) == 1, "the others were overwritten"


def test_elsewhere_lines_are_plain(tmp_path):
    result = subprocess.run([sys.executable, "-c", COUNT], cwd=tmp_path, capture_output=True, text=True)
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    progress = [line for line in result.stdout.splitlines() if "/3,000" in line]
    assert progress[0] == "1,500/3,000 images  <L_G> [bold]1.0"
    assert re.fullmatch(r"3,000/3,000 images  \d[\d,]* images/s  ETA 00:00  <L_G> \[bold\]1\.0", progress[-1])
    assert "a line [red]" + "." * 90 in result.stdout.splitlines()


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_each_terminal_shows_the_end(environment, tmp_path):
    written = on_terminal(COUNT, tmp_path, **environment)
    assert "3,000/3,000 images" in written
    assert ("\x1b" in written) == (environment["TERM"] != "dumb")


TABLE = """
from pathlib import Path
from tests.test_space import play, search_state
from tune.table import Table
search = search_state(Path("search"), 40)
table = Table(search)
for _ in range(40):
    play(search, 1)
    table.show()
    print("said meanwhile")
table.close()
"""


def test_a_searchs_table_fits_on_the_terminal(tmp_path):
    written = on_terminal(TABLE, tmp_path, PYTHONPATH=os.pathsep.join([os.getcwd(), *sys.path]))
    last = ESCAPE.sub("", written[written.rindex("trial ") :]).replace("\r", "").rstrip().split("\n")
    assert len(last) <= 23
    assert last[0].split()[:2] == ["trial", "lambda"]
    assert last[-1].rstrip() == "40 of 40 trials ended"
    assert last[-2].split()[0] == "39"
    assert written.count("said meanwhile") == 40
    assert all(len(line) <= 80 for line in last)
