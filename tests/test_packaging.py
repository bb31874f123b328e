"""What pyproject.toml says is installed, the README says how, and CI does."""

import ast
import re
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"ragdist", "tune", "cluster", "tests"}
BY_HAND = {"boto3"}  # in no extra: a message says when to install it


def named(requirements: list[str]) -> set[str]:
    """The distributions that these ask for, those of their extras (`fsspec[http]`) among them."""
    found = set()
    for one in map(Requirement, requirements):
        found.add(_plain(one.name))
        with suppress(PackageNotFoundError):  # of an extra that is not installed
            for more in map(Requirement, requires(one.name) or []):
                if more.marker and any(more.marker.evaluate({"extra": extra}) for extra in one.extras):
                    found.add(_plain(more.name))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(file: Path) -> tuple[set[str], set[str]]:
    """The foreign packages that a file imports: when it is imported itself, and later."""
    found: tuple[set[str], set[str]] = set(), set()

    def look(node: ast.AST, later: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom) and not child.level:
                names = [child.module]
            else:
                names = []
            found[later].update(name.partition(".")[0] for name in names)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            look(child, later or typing or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    look(ast.parse(file.read_text()), False)
    return found[0] - OWN - sys.stdlib_module_names, found[1] - OWN - sys.stdlib_module_names


def test_what_is_imported_is_a_dependency():
    of, core = packages_distributions(), named(PROJECT["dependencies"])
    extras = named(
        [line for lines in PROJECT["optional-dependencies"].values() for line in lines if "ragdist[" not in line]
    )
    for file in sorted(file for folder in ("ragdist", "tune", "cluster") for file in (ROOT / folder).rglob("*.py")):
        first, later = imports(file)
        for module in first:
            assert core & {_plain(name) for name in of.get(module, [module])}, f"{file}: {module} is no dependency"
        for module in later - BY_HAND:
            names = {_plain(name) for name in of.get(module, [module])}
            assert (core | extras) & names, f"{file}: {module} is no dependency and in no extra"


def test_ci_runs_the_commands_of_the_readme():
    tests = (ROOT / "README.md").read_text().partition("## Tests")[2]
    block = re.search(r"```bash\n(.*?)```", tests, re.DOTALL)[1]
    commands = [part.partition("#")[0].strip() for line in block.splitlines() for part in line.split("&&")]
    assert commands == ["pip install -e '.[dev]'", "pytest", "pytest -m cluster"]
    told = dict(re.findall(r'^stage "?([^"\n]+?)"? (pip .*|pytest.*)$', (ROOT / ".ci/run").read_text(), re.MULTILINE))
    assert list(told) == commands
    for command, run in told.items():
        words = set(run.split()) - set(command.split())
        assert words <= {"--quiet", "--disable-pip-version-check", "--durations=40"}, run


def test_old_extras_are_there_and_bring_nothing():
    extras = PROJECT["optional-dependencies"]
    assert [extras[name] for name in ("ray", "s3", "tune")] == [[], [], []]
