"""Options that modalities add to a command's own, each by a name that no other has.

An option is called as its field, as --channels. Where the command or an earlier modality has that name already, its
modality stands before it: --audio.channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from ragdist import modalities
from ragdist.config.option import check_limits
from ragdist.config.shards import IndexOptions, ShardOptions
from ragdist.modalities.base import NoOptions
from ragdist.tools.errors import UserError

if TYPE_CHECKING:
    from ragdist.config.cli import Parser

_WRITING = ("source", "out", "overwrite", "help", *(item.name for item in fields(ShardOptions)))
_INDEXING = ("urls", "overwrite", "help", *(item.name for item in fields(IndexOptions)))


class JoinedOptions:
    """The options of all modalities beside those of a command.

    Args:
        kind_of: gives the dataclass of a modality's options, by its name; a modality where it fails is left out.
        own: names of the command's own options.
    """

    def __init__(self, kind_of: Callable[[str], type], own: tuple[str, ...]):
        self.kind_of, self.kinds = kind_of, modalities.MODALITIES.working(kind_of)
        self.owner = dict.fromkeys(own, "")  # option -> modality; empty: the command
        self.names: dict[str, dict[str, str]] = {}  # modality -> field -> option
        for modality, kind in self.kinds.items():
            prefix = modality.replace("-", "_")
            there = [item.name for item in fields(kind)]
            self.names[modality] = {name: f"{prefix}.{name}" if name in self.owner else name for name in there}
            self.owner |= dict.fromkeys(self.names[modality].values(), modality)

    def add_to(self, parser: Parser) -> None:
        """Add them to a command's parser; the help of one with a prefix says whose the name without it is."""
        for modality, kind in self.kinds.items():
            parser.add_options(kind, self.names[modality])
        for action in parser._actions:
            short = action.dest.rpartition(".")[2]
            if short != action.dest and self.owner.get(action.dest):
                units = modalities.making(self.owner[action.dest]).units
                whose = self.owner[short]
                whose = f"for {modalities.making(whose).units}" if whose else "the command's own"
                parser.notes[action.dest] = f"for {units} (--{short} is {whose})"

    def of(self, modality: str, given: Any, where: str) -> Any:
        """A modality's own options, of those that were given.

        Args:
            modality: what ``where`` holds.
            given: the modality's dataclass, or a mapping from names of options to values; what is missing has its
                default, and what is the command's own is passed over.
            where: for messages.

        Raises:
            UserError: one is outside of its limits, or another modality's; or this modality was left out.
        """
        kind = modalities.MODALITIES.use(modality, self.kind_of)
        names = self.names[modality]
        if not isinstance(given, kind):
            self._refuse_others(modality, given, where)
            given = kind(**{field: given[option] for field, option in names.items() if option in given})
        check_limits(given, names=names)
        return given

    def said(self, given: Any) -> dict[str, Any]:
        """What was given of modalities' options, without the command's own: by their names."""
        if is_dataclass(given):
            return asdict(given)
        return {option: given[option] for option, modality in self.owner.items() if modality and option in given}

    def _refuse_others(self, modality: str, given: Mapping[str, Any], where: str) -> None:
        for other, kind in self.kinds.items():
            defaults = kind()
            for field, option in self.names[other].items() if other != modality else ():
                if option not in given or given[option] == getattr(defaults, field):
                    continue
                units, theirs = modalities.making(modality).units, modalities.making(other).units
                mine = self.names[modality].get(field)
                advice = f"give --{mine}" if mine else "leave it out"
                raise UserError(f"--{option}: {where} holds {units}, and it is for {theirs}; {advice}")


def of_writing() -> JoinedOptions:
    """The options with which modalities make samples, beside those of `ragdist.shards SOURCE OUT`."""
    return JoinedOptions(_of_writing, _WRITING)


def of_indexing() -> JoinedOptions:
    """The options with which modalities read what others packed, beside those of `ragdist.shards index`."""
    return JoinedOptions(_of_indexing, _INDEXING)


# A face that is a module has no defaults of the protocol's.


def _of_writing(modality: str) -> type:
    return _checked(getattr(modalities.whole_making(modality), "options", NoOptions))


def _of_indexing(modality: str) -> type:
    return _checked(getattr(modalities.whole_making(modality), "index_options", NoOptions))


def _checked(kind: type) -> type:
    """A modality's options, which join others'. Raises TypeError where a field cannot."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(hints[item.name]):
            raise TypeError(f"its option {item.name} holds options: give them one by one")
        if item.default is item.default_factory is MISSING:
            raise TypeError(f"its option {item.name} has no default")
    return kind
