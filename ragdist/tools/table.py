"""Tables of choices by name: a row is imported when it is first used, and others' packages and plugins may add rows."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, reduce
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ragdist.tools import plugins
from ragdist.tools.errors import UserError, nearest


class _Blamed(UserError):
    """A row of others fails, and the message names it."""


class Table(Mapping[str, Any]):
    """Choices of one kind by name. Importing the table imports none of them.

    Rows are the project's own, those of installed packages (entry points), and those that a plugin adds.

    Args:
        group: the name of the entry points, as "ragdist.networks".
        what: a choice in messages, as "network family".
        rows: name -> "module:attribute", or "module" for a module.
    """

    def __init__(self, group: str, what: str, rows: Mapping[str, str]):
        self.group, self.what = group, what
        self.own = tuple(rows)  # names
        self._rows: dict[str, Any] = dict(rows)
        self._found: dict[str, Any] = {}  # what was imported
        self._installed: dict[str, EntryPoint] | None = None  # once they were looked for, which takes a while
        self._plugins: dict[str, plugins.Plugin] = {}  # that rows were added by
        self._left_out: dict[tuple[str, Any], str] = {}  # by `working`: (name, what was wanted of it), and why

    def __getitem__(self, name: str) -> Any:
        """The choice of a name. Raises KeyError where there is none, UserError where a package's cannot be imported."""
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> Any:
        row = self._rows.get(name)
        if row is not None and not isinstance(row, str):
            return row
        load = self.installed[name].load if row is None else partial(imported, row)
        with self.blamed(name):
            return load()

    @contextmanager
    def blamed(self, name: str, done: str = "imported") -> Iterator[None]:
        """A context in which a choice is imported, or what else is ``done`` with it.

        Raises:
            UserError: a package's or a plugin's fails, which it names. What fails of the project's own comes as it is.
        """
        try:
            yield
        except Exception as error:  # whatever others' code does
            if name in self.own or isinstance(error, _Blamed):
                raise
            whose = "a plugin" if name in self._rows else f"the package {_distribution(self.installed[name])}"
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise _Blamed(f"the {self.what} '{name}' of {whose} cannot be {done} ({what})") from error

    def use(self, name: str, get: Callable[[str], Any]) -> Any:
        """What ``get`` gives of a choice that is there, by its name.

        Raises:
            UserError: it fails of a package's choice or a plugin's, which is not of the kind that the table holds.
        """
        with self.blamed(name, "used"):
            return get(name)

    def working(self, get: Callable[[str], Any] | None = None) -> dict[str, Any]:
        """All choices by name, without those of packages and plugins that cannot be imported or used.

        What is left out is named on stderr, once a process: who asks for all has not asked for that one.

        Args:
            get: gives what is wanted of a choice, by its name, and asks for all that is needed of it; None: the choice.
        """
        found = {}
        for name in self:
            try:
                if (name, get) not in self._left_out:
                    found[name] = self.use(name, get or self.__getitem__)
            except UserError as error:
                if name in self.own:
                    raise
                if (why := str(error)) not in self._left_out.values():
                    print(f"warning: {why}, and is left out", file=sys.stderr, flush=True)
                self._left_out[name, get] = why
        return found

    @property
    def installed(self) -> dict[str, EntryPoint]:
        """Rows of installed packages; a name of the project's own stays the project's."""
        if self._installed is None:
            found = {point.name: point for point in entry_points(group=self.group)}
            self._installed = {name: point for name, point in found.items() if name not in self.own}
        return self._installed

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self.installed

    def __iter__(self) -> Iterator[str]:
        return iter([*self._rows, *(name for name in self.installed if name not in self._rows)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def add(self, name: str, choice: Any) -> None:
        """Add a row.

        Args:
            name: new.
            choice: the object itself, or "module:attribute" to import it when it is first used.

        Raises:
            UserError: the name is taken.
        """
        if name in self:
            raise UserError(f"there is a {self.what} '{name}' already: choose another name for the plugin's")
        self._rows[name] = choice
        if plugin := plugins.executing():
            self._plugins[name] = plugin

    def check(self, name: str, option: str) -> None:
        """Check that there is a choice of a name; ``option`` is what it was given as, for messages.

        Raises:
            UserError: there is none.
        """
        if name not in self:
            raise UserError(f"{option}: there is no {self.what} '{name}' here or in a --plugin{nearest(name, self)}")

    def provenance(self, name: str) -> str:
        """Which installed package a choice comes from, as "package 1.2"; empty: the project, or a plugin file."""
        return "" if name in self._rows else _distribution(self.installed[name])

    def code(self, name: str) -> str:
        """Which code of others a choice is: "package 1.2", or the SHA-256 of a plugin; empty: the project's."""
        return self._plugins[name].sha256 if name in self._plugins else self.provenance(name)


def imported(place: str) -> Any:
    """Import "module:attribute", or "module"."""
    module, _, attributes = place.partition(":")
    return reduce(getattr, filter(None, attributes.split(".")), import_module(module))


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
