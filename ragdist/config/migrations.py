"""What files of earlier versions mean today: one table for each kind of file, applied wherever such a file is read.

A run, a search and a generator write down all their options. So an option that is missing from such a file is younger
than the file, which was made as everything was made before there was that option. A row says what that means today:

    Added("0.2.0", "data.parts", 1)                        missing: 1, which need not be the default of today
    Renamed("0.2.0", "data.lanes", "data.strands")         it has the value that stands under the old name
    Revalued("0.2.0", "objective.space", "dots", "points") the same for a value
    Removed("0.3.0", "objective.pool", 32)                 gone: what was made with another value cannot be gone on with

Every option that decides a run's weights and was not in 0.1.0 has its ``Added`` row. A row stays as it is once a
version with it is released, and a name or value that was once in use is not used again for something else: so what a
file means does not depend on which version wrote it, and reading twice is reading once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ragdist
from ragdist.tools.errors import TooNew, UserError

FIRST = "0.1.0"  # the version that wrote files in which none is named


@dataclass(frozen=True)
class Added:
    """An option that version ``since`` is the first to have; what was written before means ``means``."""

    since: str
    key: str
    means: Any


@dataclass(frozen=True)
class Renamed:
    """A key that is called ``to`` from version ``since`` on."""

    since: str
    key: str
    to: str


@dataclass(frozen=True)
class Revalued:
    """A value of a key that is called ``to`` from version ``since`` on."""

    since: str
    key: str
    value: Any
    to: Any


@dataclass(frozen=True)
class Removed:
    """A key that there is none of from version ``since`` on, when everything is as it was with the value ``means``.

    Of a key that had joined with an ``Added`` row it is that row's value: files from before it have no key either.
    """

    since: str
    key: str
    means: Any


Row = Added | Renamed | Revalued | Removed


class Table:
    """The rows for one kind of file, by the keys of today.

    Args:
        rows: in the order in which they were added.
    """

    def __init__(self, rows: tuple[Row, ...]):
        self.rows = rows
        self.names: dict[str, str] = {}  # of earlier versions, and what they are called today
        for row in rows:
            if isinstance(row, Renamed):
                assert row.to not in self.names, f"{row.to} was a name before"
                self.names = {old: row.to if now == row.key else now for old, now in self.names.items()}
                assert row.key not in self.names, f"{row.key} got a name before"
                self.names[row.key] = row.to
        self._values = [(self.name(row.key), row.value, row.to) for row in rows if isinstance(row, Revalued)]
        self.missing = {
            self.name(row.key): self.value(self.name(row.key), row.means) for row in rows if isinstance(row, Added)
        }
        self.removed = {self.name(row.key): row for row in rows if isinstance(row, Removed)}
        for key in self.removed.keys() & self.missing.keys():  # a file without it is older or newer
            assert _equal(self.missing[key], self.value(key, self.removed[key].means)), f"{key} meant another value"
        self.missing = {key: value for key, value in self.missing.items() if key not in self.removed}

    def name(self, key: str) -> str:
        """What a key is called today."""
        return self.names.get(key, key)

    def value(self, key: str, value: Any) -> Any:
        """What a value of the key, called as today, is called today."""
        for of, old, new in self._values:
            if of == key and _equal(old, value):
                value = new
        return value

    def renamed(self, saved: Mapping[str, Any], where: str) -> dict[str, Any]:
        """What a file says, by today's names; what it does not say stays unsaid. ``where`` is for messages.

        Raises:
            UserError: it says one thing under two names, or was made with an option's value that there is none of.
        """
        found: dict[str, Any] = {}
        for old, value in saved.items():
            key = self.name(old)
            if key in found:
                raise UserError(f"{where} has {key} twice, under an old name, too: leave one of them out")
            value = self.value(key, value)
            if key not in self.removed:
                found[key] = value
            elif not _equal(value, self.value(key, (row := self.removed[key]).means)):
                raise UserError(
                    f"{where} was made with {old} {value}, which ragdist has not had since version {row.since}: use it "
                    "with an earlier version"
                )
        return found

    def migrated(self, saved: Mapping[str, Any], where: str) -> dict[str, Any]:
        """What a file means today that says all there was to say when it was written.

        Raises:
            UserError: as `renamed`.
        """
        return self.missing | self.renamed(saved, where)

    def words(self, argv: list[str]) -> list[str]:
        """A command line by today's names: ``--lanes 8`` and ``--lanes=8`` as ``--strands ...``."""
        found, key = [], ""
        for word in argv:
            if not word.startswith("--"):
                found.append(self._spoken(key, word))
                key = ""
                continue
            option, equals, value = word[2:].partition("=")
            key = self.name(option)
            found.append(f"--{key}{equals}{self._spoken(key, value)}")
        return found

    def _spoken(self, key: str, word: str) -> str:
        for of, old, new in self._values:
            if of == key and word == str(old):
                word = str(new)
        return word


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


# A run's options, by their full names: in config.yaml, meta.json, search.json, best.yaml, generators ("network.*"),
# files for --config and --space, and on the command line.
OPTIONS = Table(
    (
        Revalued("0.2.0", "objective.space", "pixel", "points"),
        Renamed("0.2.0", "images", "samples"),
        Renamed("0.2.0", "objective.lam_images", "objective.lam_samples"),
        Renamed("0.2.0", "optim.warmup_images", "optim.warmup_samples"),
        Renamed("0.2.0", "optim.lr_images", "optim.lr_samples"),
        Renamed("0.2.0", "optim.ema_images", "optim.ema_samples"),
        Added("0.3.0", "network.window", 0),
        Added("0.3.0", "network.head", ""),
        Added("0.3.0", "network.codes", 0),
        Added("0.3.0", "logical_workers", 1),
        Added("0.3.0", "augment.transforms", ""),
        Added("0.3.0", "augment.p", 1.0),
        Added("0.3.0", "augment.schedule", "auto"),
        Added("0.3.0", "augment.samples", 50_000),
        Added("0.3.0", "augment.target", 0.9),
        Added("0.3.0", "objective.gp", 0.0),
        Added("0.3.0", "init_map", "name"),
        Added("0.3.0", "init_sha256", ""),
        Added("0.3.0", "freeze_d", 0),
    )
)

# A search's own options: in search.json and on the command line.
SEARCH = Table(
    (
        Renamed("0.2.0", "budget_images", "budget_samples"),
        Added("0.2.0", "plugins", {}),
        Added("0.2.0", "packages", {}),
    )
)

# Keys of what is written on the way: meta.json, state.pt, summary.json, metrics.jsonl, evaluations.jsonl, trial.json, a
# generator's metadata.
RECORDS = Table((Renamed("0.2.0", "images", "samples"), Renamed("0.2.0", "images_per_second", "samples_per_second")))


def newer(version: str | None) -> bool:
    """Whether a version, as 0.2.0 or 0.2.0.dev1, comes after this one; None: `FIRST`."""
    return _numbers(version or FIRST) > _numbers(ragdist.__version__)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", str(version))
    return tuple(map(int, found[0].split("."))) if found else ()


def refuse_unknown(unknown: list[str], where: str, version: str | None) -> None:
    """Raises TooNew where there are keys that this version does not know."""
    if unknown:
        by = f"ragdist {version}" if newer(version) else "a newer ragdist, or changed by hand,"
        raise TooNew(
            f"{where} was written by {by} and says what this one, {ragdist.__version__}, does not know "
            f"({', '.join(sorted(unknown))}): update ragdist"
        )


def check_format(found: Mapping[str, Any], form: str, version: int, where: str) -> None:
    """Refuse a file that is of another kind, or in a newer form than this version reads.

    Args:
        found: its "format" and "version".
        form: what the first has to be.
        version: the newest of that form that is read; all before it are.
        where: for messages.

    Raises:
        TooNew: the form is newer.
        UserError: it is something else.
    """
    kind, number = found.get("format"), found.get("version")
    if kind != form or type(number) is not int or number < 1:
        raise UserError(f"{where} is '{kind}' version {number}, and not {form}")
    if number > version:
        by = f"ragdist {found['ragdist']}" if newer(found.get("ragdist")) else "a newer ragdist"
        raise TooNew(
            f"{where} was written by {by}, as {form} version {number}, and this one, {ragdist.__version__}, reads "
            f"versions up to {version}: update ragdist"
        )
