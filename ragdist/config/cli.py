"""The command line: dataclasses as options, and one clear line for a mistake."""

import argparse
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, get_args, get_type_hints

import jsonargparse

from ragdist.config import helptext
from ragdist.tools import plugins
from ragdist.tools.errors import UserError, nearest

PRESETS = Path(__file__).parent / "presets"


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def config_file(name: str) -> Path:
    """The file of a preset's name or of a path.

    Raises:
        UserError: it is neither.
    """
    if name in presets():
        return PRESETS / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    if Path(name).suffix in (".yaml", ".yml") or "/" in name:
        raise UserError(f"--config {name}: there is no such file")
    raise UserError(f"--config {name}: no preset and no file of that name{nearest(name, presets())}")


class _Formatter(jsonargparse.DefaultHelpFormatter):
    """jsonargparse's lines of help with the default alone behind them: choices stand before, types are plain."""

    def _expand_help(self, action: Any) -> str:
        return re.sub(r" \((type: .+?, )?default: ?(.*)\)$", _default, super()._expand_help(action), flags=re.DOTALL)


def _default(found: re.Match) -> str:
    if found[2] in ("", "null") or (found[2] == "False" and not found[1]):  # a flag like --overwrite
        return ""
    return f" (default: {found[2]})"


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse's parser; what it refuses becomes a `UserError` of one line.

    ``--help`` shows the options that their fields mark as common, ``--help all`` and ``--help GROUP`` the others.
    """

    _common: ClassVar[dict[str, bool]] = {}  # of a parser that takes a dataclass's options: which are marked

    def __init__(self, **options: Any):
        super().__init__(formatter_class=_Formatter, **options)
        self.notes: dict[str, str] = {}  # option -> what --help says before its docstring
        self.any_bytes: set[str] = set()  # options that may be paths which are no text
        self._kinds: list[tuple[type, Mapping[str, str]]] = []  # whose options these are, and names of their own
        self._shared: dict[str, Mapping[str, type]] = {}  # option of several, as `add_shared` takes them

    def add_class_arguments(self, theclass: type, *args: Any, **options: Any) -> Any:
        outermost = not self._common  # jsonargparse calls it for nested ones in turn
        self._common = self._common or helptext.marks(theclass)
        added = super().add_class_arguments(theclass, *args, **options)
        if outermost:
            self._show_choices(theclass)
            self._kinds.append((theclass, {}))
        return added

    def _describe(self) -> None:
        """Give options the docstrings of their fields, which take longer to read than a command line."""
        texts = {}
        for kind, names in self._kinds:
            texts |= {names.get(field, field): text for field, text in helptext.docstrings(kind).items()}
        for option, kinds in self._shared.items():
            said = {units: helptext.docstrings(kind)[option] for units, kind in kinds.items()}
            values = {units: getattr(kind(), option) for units, kind in kinds.items()}
            texts[option] = "; ".join(f"of {units}: {said[units]} (default {values[units]})" for units in kinds)
        for action in self._actions:
            action.help = texts.get(action.dest, action.help)
            if note := self.notes.get(action.dest):
                action.help = f"{note}: {action.help}" if action.help else note

    def _show_choices(self, kind: type) -> None:
        """Show the names of a table where an option takes one of them."""
        tables = helptext.tables(kind)
        for action in self._actions:
            if action.dest in tables:
                action.metavar = "{" + ",".join(tables[action.dest].own) + ",...}"

    def add_options(self, kind: type, names: Mapping[str, str]) -> None:
        """Add a dataclass's options beside those that are there, whose class says whether there is a short help.

        Args:
            kind: the dataclass.
            names: field -> what its option is called: as the field, or PREFIX.FIELD.
        """
        short, marks = any(self._common.values()), helptext.marks(kind)
        self._common = self._common | {option: marks[field] and short for field, option in names.items()}
        prefixes = {field: option.rpartition(".")[0] for field, option in names.items()}
        for prefix in sorted({*prefixes.values()}):
            others = {item.name for item in fields(kind) if prefixes.get(item.name) != prefix}
            super().add_class_arguments(kind, prefix or None, as_group=False, skip=others)
        self._kinds.append((kind, names))

    def add_shared(self, option: str, kinds: Mapping[str, type], hidden: Sequence[str]) -> None:
        """Add one option for a field of several dataclasses; it is None unless it is given.

        Args:
            option: what it and the field are called. The types are alike, or all Literal: then any value of these.
            kinds: what each is for, as "images" -> the dataclass.
            hidden: other names, each an option of its own that --help does not show.
        """
        hints = list(dict.fromkeys(get_type_hints(kind)[option] for kind in kinds.values()))
        values = dict.fromkeys(value for hint in hints for value in get_args(hint))
        hint = hints[0] if len(hints) == 1 else Literal[tuple(values)]
        self.add_argument(f"--{option}", type=hint, default=None)
        for name in hidden:
            self.add_argument(f"--{name}", type=hint, default=None, help=argparse.SUPPRESS)
        mark = any(self._common.values()) and any(helptext.marks(kind)[option] for kind in kinds.values())
        self._common = self._common | {option: mark}
        self._shared[option] = kinds

    def parse_args(self, args: list[str] | None = None, *more: Any, **options: Any) -> Any:
        about = helptext.topic(arguments() if args is None else args)
        if about is not None:
            self._describe()
            print(helptext.select(self, self._common, about), end="")
            self.exit()
        values = super().parse_args(args, *more, **options)
        options = {action.dest: text for action in self._actions for text in action.option_strings[:1]}
        for name, value in values.items():
            if isinstance(value, str) and name not in self.any_bytes:
                _check_text(options.get(name, name), value)
        return values

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(self._one_line(str(message)))

    def _one_line(self, message: str) -> str:
        options = [text for action in self._actions for text in action.option_strings]
        if found := re.search(r"unrecognized arguments?: (\S+)", message, re.IGNORECASE):
            option = found[1].partition("=")[0]
            if not option.startswith("-"):
                return f"unexpected argument '{option}'; see {self.prog} --help"
            close = _closest_option(option, options)
            return f"unknown option {option}" + (f"; did you mean {close}?" if close else f"; see {self.prog} --help")
        if found := re.search(r"Key '([^']+)' is not expected|does not accept nested key '([^']+)'", message):
            key = found[1] or found[2]
            close = _closest_option(f"--{key}", options)
            return f"unknown option {key}" + (f"; did you mean {close.strip('-')}?" if close else "")
        if found := re.search(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL):
            key, what = found[1], found[2]
            if choices := re.search(r"Literal\[(.*?)\]\. Got value: (.*)", what, re.DOTALL):
                known = [choice.strip(" '\"") for choice in choices[1].split(",")]
                return f"--{key}: '{choices[2].strip()}' is not one of {', '.join(known)}" + _close(choices[2], known)
            if kind := re.search(r"Expected a <class '(\w+)'>\. Got value: (.*)", what, re.DOTALL):
                kinds = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
                return f"--{key}: '{kind[2].strip()}' is not {kinds.get(kind[1], kind[1])}"
            if union := re.search(r"Subtypes: .*float.*Literal\['(\w+)'\].*Given value: (.*)", what, re.DOTALL):
                return f"--{key}: '{union[2].strip()}' is not a number or {union[1]}"
            return f"--{key}: {' '.join(what.split())}"
        return " ".join(message.split())


def _check_text(name: str, value: str) -> None:
    """Refuse bytes that are no text: YAML does not read what it has written of them, nor safetensors such a path."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name} {value}: it is not UTF-8: choose another name, or rename it") from error


def _close(value: str, known: list[str]) -> str:
    close = difflib.get_close_matches(value.strip(), known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _closest_option(option: str, options: list[str]) -> str | None:
    close = difflib.get_close_matches(option, options, n=1, cutoff=0.6)
    if not close:  # `--lam` for `--objective.lam`
        close = [known for known in options if known.rpartition(".")[2] == option.strip("-")]
    return close[0] if close else None


def build(kind: type, values: Any) -> Any:
    """The dataclass ``kind`` from a namespace of its options."""
    given = {
        item.name: build(item.type, values[item.name]) if hasattr(item.type, "__dataclass_fields__") else value
        for item in fields(kind)
        if (value := values[item.name]) is not None
    }
    return kind(**given)


def arguments() -> list[str]:
    return sys.argv[1:]


def load_plugins(argv: list[str]) -> list[str]:
    """Load the plugins that a command line names, before its parser is made: they may add to it.

    Returns:
        The command line with one --plugin for all that there were.

    Raises:
        UserError: one cannot be loaded.
    """
    argv, files = one_plugin(argv)
    plugins.load(plugin_files(files or ""))
    return argv


def one_plugin(argv: list[str]) -> tuple[list[str], str | None]:
    """A command line with one --plugin for all that there are, and its value; None: there is none."""
    others, found = [], []
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option != "--plugin":
            others.append(word)
        elif (value := value if equals else next(words, None)) is None:
            raise UserError("--plugin needs a file")
        else:
            found.append(value)
    if not found:
        return argv, None
    files = ",".join(file for value in found for file in plugin_files(value))
    return [*others, f"--plugin={files}"], files


def plugin_files(value: str) -> list[str]:
    """The files that a value of --plugin names."""
    return [path.strip() for path in value.split(",") if path.strip()]
