"""The space of a search: options of a run, each with the values that it may have."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from ragdist.config import Config, migrations, settings
from ragdist.tools.errors import UserError, nearest

KINDS = ("uniform", "loguniform", "int", "choice")
LAM, G_LR, D_LR = "objective.lam", "optim.g_lr", "optim.d_lr"
_RANGE_OF_RATES = 5.0  # the default space goes from a fifth of the configuration's rates to five times these
_RANGE_OF_LAM = (0.03, 30.0)
# Of a search, not of a configuration.
_NOT_SEARCHED = {
    "seed": "each configuration is tried on --seeds many",
    "samples": "all trials get the same --budget_samples",
}


@dataclass(frozen=True)
class Axis:
    """One option and its values: a range from ``low`` to ``high``, both included, or a choice."""

    name: str
    kind: Literal["uniform", "loguniform", "int", "choice"]
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1] of the axis; even shares give each value its probability."""
        if self.kind == "choice":
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.kind == "int":
            low, high = int(self.low), int(self.high)
            return min(low + int(share * (high - low + 1)), high)
        if self.kind == "loguniform":
            low, high = math.log(self.low), math.log(self.high)
            return min(max(math.exp(low + share * (high - low)), self.low), self.high)
        return min(max(self.low + share * (self.high - self.low), self.low), self.high)

    def grid(self, count: int) -> list[Any]:
        """At most ``count`` values evenly over the axis, its ends included; all of a choice."""
        if self.kind == "choice":
            return list(self.choices)
        if self.kind == "int":
            low, high = int(self.low), int(self.high)
            steps = min(count, high - low + 1) - 1
            return sorted({low + round(i * (high - low) / max(steps, 1)) for i in range(steps + 1)})
        return [self.at(i / (count - 1)) for i in range(count)]

    def holds(self, value: Any) -> bool:
        """Whether a value lies on the axis."""
        if self.kind == "choice":
            return value in self.choices
        return self.low <= value <= self.high

    def text(self) -> str:
        """The axis in words."""
        if self.kind == "choice":
            return f"choice of {', '.join(map(str, self.choices))}"
        return f"{self.kind} {self.low:g} to {self.high:g}"

    def content(self) -> dict[str, list[Any]]:
        """The axis as a space file has it."""
        return {self.kind: list(self.choices) if self.kind == "choice" else [self.low, self.high]}


def default_space(config: Config) -> list[Axis]:
    """The space where no file is given: λ and the two learning rates."""
    rates = ((G_LR, config.optim.g_lr), (D_LR, config.optim.d_lr))
    return [
        Axis(LAM, "loguniform", *_RANGE_OF_LAM),
        *(Axis(name, "loguniform", rate / _RANGE_OF_RATES, rate * _RANGE_OF_RATES) for name, rate in rates),
    ]


def load(path: Path, config: Config) -> list[Axis]:
    """The space that a file describes, for variations of ``config``.

    Raises:
        UserError: it cannot be read, or an option or its values are not such as a run can have.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--space {path}: it cannot be read ({getattr(error, 'strerror', None) or 'no text'})"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"--space {path}: it is no YAML ({' '.join(str(error).split())})") from error
    return parse(content, config, str(path))


def parse(content: Any, config: Config, where: str) -> list[Axis]:
    """Parse the content of a space file."""
    if not isinstance(content, dict) or not content:
        raise UserError(f"--space {where}: it must name options, as objective.lam: {{loguniform: [0.1, 10]}}")
    known = _fields(Config)
    axes = []
    for name, values in of_today(_flat(content), f"--space {where}").items():
        if name not in known:
            raise UserError(f"--space {where}: unknown option {name}{nearest(name, known)}")
        if name in _NOT_SEARCHED:
            raise UserError(f"--space {where}: {name} is not searched: {_NOT_SEARCHED[name]}")
        if known[name].metadata.get("free"):
            raise UserError(f"--space {where}: {name} does not change what is trained: there is nothing to search")
        axis = _axis(name, values, f"--space {where}: {name}")
        axes.append(_typed(axis, known[name], config, f"--space {where}: {name}"))
    return axes


def of_today(content: dict[str, Any], where: str) -> dict[str, Any]:
    """What a space's file says of any version, {"objective.lam": {"choice": [0.1, 1]}, ...}, by today's names."""
    options = migrations.OPTIONS
    return {
        name: {kind: [options.value(name, value) for value in given] for kind, given in values.items()}
        if isinstance(values, dict) and all(isinstance(given, list) for given in values.values())
        else values
        for name, values in options.renamed(content, where).items()
    }


def varied(config: Config, values: dict[str, Any]) -> Config:
    """Replace options of a configuration: {"objective.lam": 0.5, ...}."""
    for name, value in values.items():
        group, _, key = name.rpartition(".")
        if group:
            value = dataclasses.replace(getattr(config, group), **{key: value})
        config = dataclasses.replace(config, **{group or key: value})
    return config


@dataclass(frozen=True)
class _Field:
    type: Any
    metadata: Any

    @property
    def of(self) -> Iterable[str]:
        """The names that it may be, of a choice from a table; else none."""
        return self.metadata.get("of") or ()


def _fields(kind: type, prefix: str = "") -> dict[str, _Field]:
    """Type and marks of each option by its full name."""
    hints, found = get_type_hints(kind), {}
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[item.name]):
            found |= _fields(hints[item.name], f"{prefix}{item.name}.")
        else:
            found[f"{prefix}{item.name}"] = _Field(hints[item.name], item.metadata)
    return found


def _flat(content: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten options, which may be written objective.lam: ..., or objective: {lam: ...}."""
    found = {}
    for name, values in content.items():
        group = f"{prefix}{name}" in {item.name for item in dataclasses.fields(Config) if "." not in str(name)}
        if group and isinstance(values, dict) and values and not set(values) & set(KINDS):
            found |= _flat(values, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = values
    return found


def _axis(name: str, values: Any, where: str) -> Axis:
    if not isinstance(values, dict) or len(values) != 1:
        raise UserError(f"{where}: give one of {', '.join(KINDS)} and its values, as {{loguniform: [0.1, 10]}}")
    (kind, given), *_ = values.items()
    if kind not in KINDS:
        raise UserError(f"{where}: unknown kind {kind}{nearest(str(kind), KINDS)}")
    if not isinstance(given, list) or (kind != "choice" and len(given) != 2):
        raise UserError(
            f"{where}: {kind} needs a list of {'values' if kind == 'choice' else 'two numbers, [low, high]'}"
        )
    if kind == "choice":
        if not given:
            raise UserError(f"{where}: the choice is empty: name its values")
        return Axis(name, kind, choices=tuple(given))
    low, high = (_number(value, where) for value in given)
    if low >= high:
        raise UserError(
            f"{where}: the range from {low:g} to {high:g} is empty: the first number must be the smaller one"
        )
    if kind == "loguniform" and low <= 0:
        raise UserError(f"{where}: loguniform from {low:g}: it must begin above 0 (lambda = 0 is tried in any case)")
    return Axis(name, kind, low, high)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)  # YAML takes 1e-4 for a text
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise UserError(f"{where}: '{value}' is not a number")
    return number


def _typed(axis: Axis, option: "_Field", config: Config, where: str) -> Axis:
    """Convert an axis to the option's type, and check that a run can have its ends."""
    kind = option.type if axis.kind == "choice" or float not in get_args(option.type) else float
    if axis.kind != "choice" and kind not in (int, float):
        known = tuple(option.of) or get_args(kind) or ((False, True) if kind is bool else ())
        hint = f" of {', '.join(map(str, known))}" if known else ""
        raise UserError(f"{where}: it is no number: give a choice{hint}")
    if axis.kind in ("uniform", "loguniform") and kind is int:
        raise UserError(f"{where}: it is a whole number: give int, or a choice")
    if axis.kind == "int" and (axis.low % 1 or axis.high % 1):
        raise UserError(f"{where}: int needs whole numbers")
    if axis.kind == "choice":
        axis = dataclasses.replace(axis, choices=tuple(_value(value, kind, where) for value in axis.choices))
        ends = axis.choices
    else:
        convert = int if kind is int else float
        ends = tuple(map(convert, (axis.low, axis.high)))
    for value in ends:
        try:
            settings.check(varied(config, {axis.name: value}))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return axis


def _value(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is Literal:
        known = get_args(kind)
        if value not in known:
            raise UserError(f"{where}: '{value}' is not one of {', '.join(map(str, known))}")
        return value
    if float in get_args(kind) and value in [name for part in get_args(kind) for name in get_args(part)]:
        return value
    if kind is float or float in get_args(kind):
        return _number(value, where)
    if type(value) is not kind:
        names = {int: "a whole number", bool: "true or false", str: "a text"}
        raise UserError(f"{where}: '{value}' is not {names[kind]}")
    return value
