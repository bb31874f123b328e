"""Options that modalities add to a command's own, each by a name that no other has.

An option is called as its field, as --channels. Where the command or an earlier modality has that name already, its
modality stands before it: --oth.channels. A field that is marked ``shared`` is also called as the earlier modality's,
of which it means the same: one --channels, whose values and default are each modality's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

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
        self.sharing: dict[str, list[str]] = {}  # option that several modalities take -> these
        for modality, kind in self.kinds.items():
            prefix = modality.replace("-", "_")
            there = [item.name for item in fields(kind)]
            self.names[modality] = {name: f"{prefix}.{name}" if name in self.owner else name for name in there}
            for item in fields(kind):
                if self._shares(modality, item):
                    self.sharing.setdefault(item.name, [self.owner[item.name]]).append(modality)
            self.owner |= dict.fromkeys(self.names[modality].values(), modality)

    def _shares(self, modality: str, item: Field) -> bool:
        """Whether a modality's option is one with an earlier modality's."""
        first = self.owner.get(item.name)
        if not item.metadata.get("shared") or not first:
            return False
        kinds = [get_type_hints(self.kinds[name])[item.name] for name in (first, modality)]
        return kinds[0] == kinds[1] or all(get_origin(kind) is Literal for kind in kinds)

    def add_to(self, parser: Parser) -> None:
        """Add them to a command's parser; the help of one with a prefix says whose the name without it is."""
        for modality, kind in self.kinds.items():
            names = self.names[modality].items()
            parser.add_options(kind, {field: option for field, option in names if not self._shared(modality, field)})
        for action in parser._actions:
            short = action.dest.rpartition(".")[2]
            if short != action.dest and (modality := self.owner.get(action.dest)):
                units = modalities.making(modality).units
                whose = self.owner[short]
                whose = f"for {modalities.making(whose).units}" if whose else "the command's own"
                parser.notes[action.dest] = f"for {units} (--{short} is {whose})"
        for option, sharing in self.sharing.items():
            kinds = {modalities.making(modality).units: self.kinds[modality] for modality in sharing}
            parser.add_shared(option, kinds, [self.names[modality][option] for modality in sharing[1:]])

    def _shared(self, modality: str, field: str) -> bool:
        return modality in self.sharing.get(field, ())

    def of(self, modality: str, given: Any, where: str) -> Any:
        """A modality's own options, of those that were given.

        Args:
            modality: what ``where`` holds.
            given: the modality's dataclass, or a mapping from names of options to values; what is missing or None has
                its default, and what is the command's own is passed over.
            where: for messages.

        Raises:
            UserError: one is outside of its limits, or another modality's; or this modality was left out.
        """
        kind = modalities.MODALITIES.use(modality, self.kind_of)
        names = self.names[modality]
        if not isinstance(given, kind):
            self._refuse_others(modality, given, where)
            given = kind(**dict(self._own(modality, given)))
        check_limits(given, names=names)
        return given

    def _own(self, modality: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """(field, value) of what is given of a modality's options; of a shared one its own name counts first."""
        hints = get_type_hints(self.kinds[modality])
        for field, option in self.names[modality].items():
            shared = self._shared(modality, field)
            name = option if given.get(option) is not None or not shared else field
            if (value := given.get(name)) is None:
                continue
            if shared and get_origin(hints[field]) is Literal and value not in get_args(hints[field]):
                known = ", ".join(map(str, get_args(hints[field])))
                raise UserError(f"--{name} {value}: of {modalities.making(modality).units} it is one of {known}")
            yield field, value

    def said(self, given: Any) -> dict[str, Any]:
        """What was given of modalities' options, without the command's own: by their names."""
        if is_dataclass(given):
            return asdict(given)
        found = {option: given[option] for option, modality in self.owner.items() if modality and option in given}
        return {option: value for option, value in found.items() if value is not None}

    def _refuse_others(self, modality: str, given: Mapping[str, Any], where: str) -> None:
        for other, kind in self.kinds.items():
            defaults = kind()
            for field, option in self.names[other].items() if other != modality else ():
                if given.get(option) is None or given[option] == getattr(defaults, field):
                    continue
                if option == field and self._shared(modality, field):
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
