"""Tables of choices by name: a row is imported when it is first used, and others' packages and plugins may add rows."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial, reduce
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ragdist.tools.errors import UserError, nearest


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

    def __getitem__(self, name: str) -> Any:
        """The choice of a name. Raises KeyError where there is none, UserError where a package's cannot be imported."""
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> Any:
        if name in self._rows:
            row = self._rows[name]
            if not isinstance(row, str):
                return row
            if name in self.own:
                return imported(row)
            load, whose = partial(imported, row), "a plugin"
        else:
            point = self.installed[name]
            load, whose = point.load, f"the package {_distribution(point)}"
        try:
            return load()
        except Exception as error:  # whatever others' code does when it is imported
            raise UserError(
                f"the {self.what} '{name}' of {whose} cannot be imported ({type(error).__name__}: {error})"
            ) from error

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

    def remove(self, names: Iterable[str]) -> None:
        """Remove rows that were added."""
        for name in names:
            assert name not in self.own, f"{name} is no plugin's"
            del self._rows[name]
            self._found.pop(name, None)

    @property
    def added(self) -> tuple[str, ...]:
        """Names of the rows that plugins added."""
        return tuple(self._rows)[len(self.own) :]

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


def imported(place: str) -> Any:
    """Import "module:attribute", or "module"."""
    module, _, attributes = place.partition(":")
    return reduce(getattr, filter(None, attributes.split(".")), import_module(module))


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
