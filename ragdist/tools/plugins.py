"""Plugins: Python files of a user's own that add rows to the tables of networks, losses, measures and modalities.

A plugin is named once, on the command line or in a run's configuration, and executed in every process of the run. The
processes get its text and not its path: other hosts need not have the file. Its SHA-256 is part of what a run is.
"""

import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterable
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
_executing: list[Plugin] = []  # the one that is being executed, if any


def load(paths: Iterable[str]) -> None:
    """Read and execute plugins in this process.

    Raises:
        UserError: a file cannot be read, fails, or has the name of another one.
    """
    take(read(paths))


def read(paths: Iterable[str]) -> list[Plugin]:
    """Read plugins' files, without executing them.

    Raises:
        UserError: one cannot be read.
    """
    found = []
    for path in paths:
        try:
            found.append(Plugin(path, Path(path).expanduser().read_text("utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise UserError(f"--plugin {path} cannot be read ({why})") from error
    return found


def take(plugins: Iterable[Plugin]) -> None:
    """Execute plugins in this process, as another process has loaded them; copies of those that are there are left out.

    Raises:
        UserError: as `load`.
    """
    for plugin in plugins:
        if any(other.text == plugin.text for other in _loaded.values()):
            continue
        there = _loaded.get(plugin.name)
        if there is None:
            _execute(plugin)
        else:
            raise UserError(
                f"--plugin {plugin.path}: another plugin of that file name, {there.path}, is loaded already: rename one"
            )


def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process, for `take` in another one."""
    return tuple(_loaded.values())


def named(paths: Iterable[str]) -> tuple[Plugin, ...]:
    """Those plugins of this process that have the file names of ``paths``, wherever they were read from."""
    names = [Plugin(path, "").name for path in paths]
    return tuple(plugin for name, plugin in _loaded.items() if name in names)


def executing() -> Plugin | None:
    """The plugin that is being executed: what is added to a table now is its row."""
    return _executing[-1] if _executing else None


def is_loaded(path: str) -> bool:
    """Whether a plugin of that file name is loaded."""
    return Plugin(path, "").name in _loaded


def _execute(plugin: Plugin) -> None:
    if _PACKAGE not in sys.modules:
        sys.modules[_PACKAGE] = package = ModuleType(_PACKAGE)
        package.__path__ = []
    module = ModuleType(plugin.name)
    module.__file__ = plugin.path
    sys.modules[plugin.name] = module
    # For tracebacks and inspect.getsource, which would look for the file.
    linecache.cache[plugin.path] = (len(plugin.text), None, plugin.text.splitlines(True), plugin.path)
    _executing.append(plugin)
    try:
        exec(compile(plugin.text, plugin.path, "exec"), vars(module))
    except (Exception, SystemExit) as error:  # whatever a user's code does
        del sys.modules[plugin.name]
        raise UserError(f"--plugin {plugin.path}{_place(plugin, error)}: {_what(error)}") from error
    finally:
        _executing.pop()
    _loaded[plugin.name] = plugin


def _place(plugin: Plugin, error: BaseException) -> str:
    """The line of a plugin that an error came from, for messages."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == plugin.path]
    if isinstance(error, SyntaxError) and error.filename == plugin.path:
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines else ""


def _what(error: BaseException) -> str:
    if isinstance(error, UserError):  # of a table: the name is taken
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"
