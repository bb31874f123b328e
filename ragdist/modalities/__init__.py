"""Modalities: all that knows what a sample is, one folder each, and the table of their names.

A modality has three faces (`base`): making shards, training, judging. What a run's samples are is said by the index of
its data (the key ``codec``), so that no option names it. Importing this imports no modality and no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ragdist.modalities.base import Form, Judging, Making, Training
from ragdist.tools.errors import UserError
from ragdist.tools.table import Table

if TYPE_CHECKING:
    import numpy as np

# Packages, each with the modules making, training and judging; or objects with these as attributes.
MODALITIES = Table(
    "ragdist.modalities",
    "modality",
    {
        "image": "ragdist.modalities.image",
        "audio": "ragdist.modalities.audio",
        "text": "ragdist.modalities.text",
        "array": "ragdist.modalities.array",
    },
)


def making(name: str) -> Making:
    """The face of a modality that makes and indexes shards."""
    return _face(name, "making")


def training(name: str) -> Training:
    """The face of a modality that training needs."""
    return _face(name, "training")


def judging(name: str) -> Judging:
    """The face of a modality that shows and measures samples."""
    return _face(name, "judging")


def all_making() -> dict[str, Making]:
    """The first face of every modality, by name; see `Table.working`."""
    return MODALITIES.working(whole_making)


def all_judging() -> dict[str, Judging]:
    """The third face of every modality, by name; see `Table.working`."""
    return MODALITIES.working(_whole_judging)


def whole_making(name: str) -> Making:
    """The first face of a modality, with all that commands ask of each modality before they know which one it is.

    Raises:
        AttributeError: something is missing.
        TypeError: something is of the wrong kind.
    """
    face = making(name)
    _ = face.unit, face.units, tuple(face.payload), frozenset(face.suffixes), face.check_array
    return face


def _whole_judging(name: str) -> Judging:
    face = judging(name)
    _ = tuple(face.features), tuple(face.measures)
    return face


def comparable(name: str, form: Form) -> Form:
    """A form without what it says of payloads: generated samples have it, too, and equal ones can be compared."""
    of_payloads = getattr(making(name), "decoding", {})
    return Form(form.shape, {key: value for key, value in form.spec.items() if key not in of_payloads})


def alike(name: str, form: Form, other: Form) -> bool:
    """Whether samples of two forms can be compared with each other."""
    return form.shape == other.shape and not differences(name, form, other)


def differences(name: str, form: Form, other: Form) -> list[str]:
    """The keys of ``spec`` by which samples of two forms cannot be compared with each other."""
    aside = {*getattr(making(name), "decoding", {}), *getattr(making(name), "of_networks", ())}
    keys = sorted({*form.spec, *other.spec} - aside)
    return [key for key in keys if (key in form.spec, form.spec.get(key)) != (key in other.spec, other.spec.get(key))]


def beside(name: str, most: int) -> int:
    """How many samples a page shows beside each other, at most so many."""
    return min(getattr(judging(name), "beside", most), most)


def row_type(name: str, form: Form) -> np.dtype | None:
    """The type of the numbers of samples that are packed, many in a member; None: a member is a sample."""
    found = getattr(making(name), "row_type", None)
    return found(form) if found else None


def check_said(name: str, spec: Mapping[str, Any]) -> None:
    """Raises UserError where a modality says of its samples what reading them again would refuse."""
    if unknown := sorted(spec.keys() - making(name).spec):
        what = ", ".join(unknown)
        raise UserError(f"the modality '{name}' says of its samples {what}, and its `spec` does not list that")


def most_likely(where: str, counts: Mapping[str, int]) -> str:
    """The modality of a source by its name -> how much of the source can be such samples; of nothing, the first.

    Raises:
        UserError: two are equally likely.
    """
    there = [name for name, count in counts.items() if count]
    first = min((getattr(making(name), "rank", 0) for name in there), default=0)  # those that others accompany
    counts = {name: count for name, count in counts.items() if not there or getattr(making(name), "rank", 0) == first}
    found = [name for name, count in counts.items() if count == max(counts.values())]
    if len(found) > 1 and max(counts.values()):
        units = " or ".join(making(name).units for name in found)
        raise UserError(f"{where} may hold {units}: say which with --modality {' or --modality '.join(found)}")
    return found[0]


def _face(name: str, face: str) -> Any:
    modality = MODALITIES[name]
    with MODALITIES.blamed(name):
        if not hasattr(modality, face):
            import_module(f"{modality.__name__}.{face}")  # a package, whose modules are imported one by one
        return getattr(modality, face)
