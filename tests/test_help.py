"""`--help` of every module that is run by `python -m`, and `--help all` of the commands."""

import re
from pathlib import Path

import pytest

from tests.conftest import command

ROOT = Path(__file__).parents[1]
# follow_parent runs another module, whose --help this is.
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for folder in ("ragdist", "tune", "cluster", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "\nif __name__ == " in path.read_text() and path.stem != "follow_parent"
)


COMMANDS = [name for name in MODULES if re.fullmatch(r"ragdist\.\w+|tune\.search", name)]


@pytest.mark.parametrize("asked", [[name, "--help"] for name in MODULES] + [[name, "--help", "all"] for name in COMMANDS],
                         ids=" ".join)  # fmt: skip
def test_a_module_that_is_run_has_a_help(asked):
    result = command(*asked, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert re.match(rf"usage: (python -m )?{re.escape(asked[0])} ", result.stdout), result.stdout
