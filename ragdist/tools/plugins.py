"""Plugins: Python files of a user's own that add rows to the tables of networks, losses, measures and modalities.

A plugin is named once, on the command line or in a run's configuration, and executed in every process of the run. The
processes get its text and not its path: other hosts need not have the file. Its SHA-256 is part of what a run is.
"""

import hashlib
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ragdist.tools.errors import UserError

_PACKAGE = "ragdist_plugins"  # modules are ragdist_plugins.<file name>, so that their classes can be pickled


class Plugin(NamedTuple):
    """A plugin's file."""

    path: str  # where it was, for messages
    text: str

    @property
    def name(self) -> str:
        """The module's name."""
        return f"{_PACKAGE}.{Path(self.path).stem}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


_loaded: dict[str, Plugin] = {}  # of this process, by the module's name


def load(paths: Iterable[str]) -> None:
    """Read and execute plugins in this process; those that are loaded already stay.

    Raises:
        UserError: a file cannot be read, fails, or has the name of another one.
    """
    take(read(paths))


def read(paths: Iterable[str]) -> list[Plugin]:
    """Read plugins' files, without executing them."""
    found = []
    for path in paths:
        try:
            found.append(Plugin(path, Path(path).expanduser().read_text()))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise UserError(f"--plugin {path} cannot be read ({why})") from error
    return found


def take(plugins: Sequence[Plugin]) -> None:
    """Execute plugins in this process, as another process has loaded them.

    Raises:
        UserError: as `load`.
    """
    for plugin in plugins:
        there = _loaded.get(plugin.name)
        if there is None:
            _execute(plugin)
        elif there.text != plugin.text:
            raise UserError(
                f"--plugin {plugin.path}: another plugin of that file name, {there.path}, is loaded already: rename one"
            )


def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process, for `take` in another one."""
    return tuple(_loaded.values())


def digests() -> list[str]:
    """The SHA-256 of each plugin of this process, sorted."""
    return sorted(plugin.sha256 for plugin in _loaded.values())


def _execute(plugin: Plugin) -> None:
    if _PACKAGE not in sys.modules:
        sys.modules[_PACKAGE] = package = ModuleType(_PACKAGE)
        package.__path__ = []
    module = ModuleType(plugin.name)
    module.__file__ = plugin.path
    sys.modules[plugin.name] = module
    try:
        exec(compile(plugin.text, plugin.path, "exec"), vars(module))
    except UserError:
        del sys.modules[plugin.name]
        raise
    except Exception as error:  # whatever a user's code does
        del sys.modules[plugin.name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == plugin.path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        raise UserError(f"--plugin {plugin.path}, line {line}: {type(error).__name__}: {error}") from error
    _loaded[plugin.name] = plugin
