"""Limits of options: each number has some, and what lies outside is refused in one line that names it."""

import dataclasses
import math
from typing import get_type_hints

import pytest

from ragdist.config import Config
from ragdist.config.doctor import DoctorOptions
from ragdist.config.evaluation import EvaluateOptions
from ragdist.config.option import Limits, check_limits
from ragdist.config.outliers import OutlierOptions
from ragdist.config.shards import CheckOptions, IndexOptions, ShardOptions, StatsOptions
from ragdist.generate import GenerateOptions
from ragdist.modalities.image.options import ImageIndexOptions, ImageOptions
from ragdist.tools.errors import UserError
from tune.options import SearchOptions

KINDS = (
    Config, ShardOptions, IndexOptions, CheckOptions, StatsOptions, EvaluateOptions, DoctorOptions, GenerateOptions,
    OutlierOptions, SearchOptions, ImageOptions, ImageIndexOptions,
)  # fmt: skip
UNLIMITED = {
    "objective.lam_samples": "counts with a --objective.lam_schedule alone, and is checked with it",
    "optim.lr_samples": "counts with an --optim.lr_schedule alone, and is checked with it",
}


def numbers(kind: type, prefix: str = ""):
    """(full name, field) of each option that is a number."""
    hints = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from numbers(hints[item.name], f"{prefix}{item.name}.")
        elif hints[item.name] in (int, float):
            yield f"{prefix}{item.name}", item


def with_value(options, name: str, value: float):
    group, _, rest = name.partition(".")
    if rest:
        value = with_value(getattr(options, group), rest, value)
    return dataclasses.replace(options, **{group: value})


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_has_limits_or_a_reason_why_not(kind):
    without = {name for name, item in numbers(kind) if not item.metadata.get("limits")}
    assert without == (set(UNLIMITED) if kind is Config else set())


@pytest.mark.parametrize(
    ("kind", "name", "limits"),
    [
        pytest.param(kind, name, limits, id=f"{kind.__name__}.{name}")
        for kind in KINDS
        for name, item in numbers(kind)
        if (limits := item.metadata.get("limits"))
    ],
)
def test_a_number_outside_is_refused_and_one_at_the_end_is_not(kind, name, limits):
    check_limits(kind())
    ends = [(end, step) for end, step in ((limits.at_least, -1), (limits.at_most, 1)) if end is not None]
    for end, _ in ends:
        check_limits(with_value(kind(), name, end))
    outside = [end + step for end, step in ends]
    outside += [end for end in (limits.above, limits.below) if end is not None]
    assert outside
    for value in [*outside, math.nan]:
        with pytest.raises(UserError) as error:
            check_limits(with_value(kind(), name, value))
        assert str(error.value) == f"--{name} {value}: it must be {limits}"


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(at_least=0), "0 or more"),
        (Limits(at_least=2), "at least 2"),
        (Limits(above=0), "above 0"),
        (Limits(above=0, at_most=1), "above 0 and at most 1"),
        (Limits(at_least=0, at_most=2**15), "from 0 to 32,768"),
        (Limits(at_least=0, below=1), "from 0 to below 1"),
        (Limits(at_least=0, says="0 (off) or more"), "0 (off) or more"),
    ],
)
def test_what_a_line_says_a_value_must_be(limits, says):
    assert str(limits) == says
