"""The layout of docs/architecture.md: commands alone at the top of ragdist/, and folders that say what lives there."""

import ast
from pathlib import Path

import pytest

RAGDIST = Path(__file__).parents[1] / "ragdist"
COMMANDS = {"train", "generate", "evaluate", "outliers", "compare", "shards", "doctor"}
FOLDERS = sorted(path.parent for path in RAGDIST.rglob("__init__.py"))


def test_nothing_but_commands_lies_at_the_top():
    assert {path.stem for path in RAGDIST.glob("*.py")} == COMMANDS | {"__init__"}


def test_no_folder_with_code_is_without_a_docstring():
    assert {path.parent for path in RAGDIST.rglob("*.py")} == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(RAGDIST.parent)))
def test_a_folder_says_what_lives_there(folder):
    assert len(ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "") > 40
