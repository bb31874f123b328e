"""Long and short --help: the options used most, one group, or all.

Which options are used most is said beside each, by the mark ``common`` in its field's metadata
(`ragdist.config.run.common`).
"""

import argparse
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from ragdist.tools.errors import UserError, nearest
from ragdist.tools.table import Table

ALL = "all"


def topic(argv: list[str]) -> str | None:
    """The word after --help, "" where there is none; None where no help is asked for."""
    for at, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option in ("-h", "--help"):
            after = value if equals else next(iter(argv[at + 1 :]), "")
            return "" if after.startswith("-") else after
    return None


def marks(kind: type) -> dict[str, bool]:
    """Of each option of a dataclass, {"objective.lam": True, ...}: whether it is marked as common."""
    return {name: bool(mark) for name, mark in _metadata(kind, "common").items()}


def tables(kind: type) -> dict[str, Table]:
    """The table of each option of a dataclass that is a choice of one: {"network.family": ..., ...}."""
    return {name: table for name, table in _metadata(kind, "of").items() if table is not None}


def docstrings(kind: type, prefix: str = "") -> dict[str, str]:
    """The docstring of each option of a dataclass: {"objective.lam": "weight of ...", ...}."""
    import docstring_parser  # for --help alone

    hints, found = get_type_hints(kind), {}
    for one in filter(is_dataclass, reversed(kind.__mro__)):  # the text of each class has its own fields alone
        for item in docstring_parser.parse_from_object(one).params:
            found[f"{prefix}{item.arg_name}"] = item.description
    for item in fields(kind):
        if is_dataclass(hints[item.name]):
            found |= docstrings(hints[item.name], f"{prefix}{item.name}.")
    return found


def _metadata(kind: type, key: str, prefix: str = "") -> dict[str, Any]:
    hints, found = get_type_hints(kind), {}
    for item in fields(kind):
        name = f"{prefix}{item.name}"
        if is_dataclass(hints[item.name]):
            found |= _metadata(hints[item.name], key, f"{name}.")
        else:
            found[name] = item.metadata.get(key)
    return found


def select(parser: Any, common: dict[str, bool], about: str) -> str:
    """Hide what does not belong to the topic ``about`` from a parser's help, and return the help.

    Args:
        common: the parser's options, as `marks` gives them; where none is marked, all are shown.

    Raises:
        UserError: there is no such topic.
    """
    groups = sorted({name.partition(".")[0] for name in common if "." in name})
    if about not in ("", ALL, *groups, *common):
        if parser._positionals._group_actions:  # it may be one of those, as in `generate --help runs/digits`
            about = ""
        else:
            what = nearest(about, [ALL, *groups, *common], shown=[ALL, *groups])
            raise UserError(f"--help {about}: there is no such group or option{what}")
    if about != ALL and any(common.values()):
        places = " ".join(action.metavar or action.dest.upper() for action in parser._positionals._group_actions)
        parser.usage = " ".join(filter(None, ("%(prog)s", places, "[options]")))
        topics = f"--help {ALL}" + (f", or a group's: --help {' | '.join(groups)}" if groups else "")
        parser.epilog = " ".join(filter(None, (parser.epilog, f"More options: {topics}.")))
        for action in parser._actions:
            if not _belongs(action, common, about, groups):
                action.help = argparse.SUPPRESS
    return parser.format_help()


def _belongs(action: argparse.Action, common: dict[str, bool], about: str, groups: list[str]) -> bool:
    if not action.option_strings:
        return True
    if about:
        return action.dest == about or action.dest.startswith(f"{about}.")
    if action.dest in groups:  # reads a group from a file, but where the command gave it a meaning of its own
        return action.metavar != "CONFIG"
    return common.get(action.dest, True)
