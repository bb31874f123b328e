"""One option: the field of an options dataclass with its default, its marks, and the limits of a number.

An option marked ``free`` may differ when a run is continued; any other decides the run's weights, and a run with
another value is another run. One marked ``common`` is shown by `--help` without being asked for all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from ragdist.tools.errors import UserError
from ragdist.tools.table import Table


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The numbers that an option may be; None: no such end."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    says: str = ""  # in place of what the ends say

    def allow(self, value: float) -> bool:
        """Whether it is within the limits; NaN never is."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """What a value must be: "from 1 to 100", the end of a sentence."""
        if self.says:
            return self.says
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:,} to {self.at_most:,}"
        if self.at_least is not None and self.below is not None:
            return f"from {self.at_least:,} to below {self.below:,}"
        ends = ((self.at_least, "at least"), (self.above, "above"), (self.at_most, "at most"), (self.below, "below"))
        said = " and ".join(f"{word} {end:,}" for end, word in ends if end is not None)
        return "0 or more" if said == "at least 0" else said


def option(
    default: Any,
    *,
    common: bool = False,
    free: bool = False,
    shared: bool = False,
    of: Table | None = None,
    **limits: Any,
) -> Any:
    """An option with limits, the arguments of `Limits`: ``option(64, at_least=1)``; or a choice ``of`` a table.

    ``shared``: of a modality's options: it means what an earlier modality's of the same name means, and is one with it.
    """
    marks = {"common": common, "free": free, "shared": shared, "limits": Limits(**limits) if limits else None, "of": of}
    return field(default=default, metadata=marks)


def common(default: Any, **marks: Any) -> Any:
    """An option that is used often."""
    return option(default, common=True, **marks)


def free(default: Any, **marks: Any) -> Any:
    """An option that a run may be continued with another value of."""
    return option(default, free=True, **marks)


def check_limits(options: Any, prefix: str = "", names: Mapping[str, str] = MappingProxyType({})) -> None:
    """Refuse numbers outside of their limits and names of no choice, in a dataclass of options and those in it.

    Args:
        options: the dataclass.
        prefix: before the names of its fields, where they are options of a group.
        names: what fields are called on the command line that have another name there.

    Raises:
        UserError: naming the option and what it must be.
    """
    for item in fields(options):
        value, name = getattr(options, item.name), names.get(item.name, f"{prefix}{item.name}")
        limits = item.metadata.get("limits")
        if is_dataclass(value):
            check_limits(value, f"{name}.")
        elif limits and isinstance(value, int | float) and not limits.allow(value):
            raise UserError(f"--{name} {value}: it must be {limits}")
        elif (table := item.metadata.get("of")) is not None:
            table.check(value, f"--{name} {value}")


def choices(options: Any, prefix: str = "") -> Iterator[tuple[str, str, Table]]:
    """Name, value and table of each option that is a choice of one, in a dataclass of options and those in it."""
    for item in fields(options):
        value, name = getattr(options, item.name), f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from choices(value, f"{name}.")
        elif (table := item.metadata.get("of")) is not None:
            yield name, value, table
