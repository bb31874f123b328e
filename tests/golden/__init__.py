"""What earlier versions wrote, a folder each, made by make.py: later ones go on reading all of it."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.golden.make import HERE

VERSIONS = sorted(path.name for path in Path(__file__).parent.iterdir() if (path / "about.json").is_file())


def about(version: str) -> dict[str, Any]:
    """How a version's files were made."""
    return json.loads((Path(__file__).parent / version / "about.json").read_text())


def copied(version: str, into: Path) -> Path:
    """A copy of a version's files, as if they had been made where it is: the folder ``into``, which there is not yet."""
    shutil.copytree(Path(__file__).parent / version, into)
    for path in into.rglob("*"):
        if path.is_file() and HERE.encode() in (content := path.read_bytes()):
            path.write_bytes(content.replace(HERE.encode(), str(into).encode()))
    return into
