"""Which samples are outliers, and by which protocol a run is judged: two protocols that are never mixed.

One-class: trained on one class, all others are outliers (Deep SVDD, Ruff et al. 2018; OCGAN, Perera et al. 2019).
Leave-one-out: trained on all classes but one, which is the outlier (AnoGAN as Zenati et al. 2018; GANomaly, Akcay et
al. 2018). The same scores have other figures by the other protocol.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ragdist.tools.errors import UserError, nearest
from ragdist.tools.words import counted

ONE_CLASS, LEAVE_ONE_OUT, OTHER = "one-class", "leave-one-out", "several classes"


@dataclass(frozen=True)
class Protocol:
    """Which samples are outliers, and what a run may be called that is judged by them."""

    name: str
    outliers: tuple[str, ...]  # classes that are in the data
    normal: tuple[str, ...]
    trained: tuple[str, ...] | None  # None: the training data have no labels
    outlier: Tensor  # bool [n]
    judged: Tensor  # bool [n]: samples with a label

    def sentence(self) -> str:
        """The protocol in words."""
        known = f"trained on {_list(self.trained)}" if self.trained else "the training data have no labels: not checked"
        count = int(self.outlier[self.judged].sum())
        normal = int(self.judged.sum()) - count
        return (
            f"{self.name} ({known}): {normal:,} normal ({_list(self.normal)}), "
            f"{counted(count, 'outlier')} ({_list(self.outliers)})"
        )

    def content(self) -> dict[str, object]:
        """The protocol for outliers.json."""
        outliers = int(self.outlier[self.judged].sum())
        return {
            "name": self.name,
            "normal": list(self.normal),
            "outliers": list(self.outliers),
            "trained_on": self.trained and list(self.trained),
            "normal_samples": int(self.judged.sum()) - outliers,
            "outlier_samples": outliers,
        }


def _list(names: Collection[str]) -> str:
    names = list(names)
    return ", ".join(names if len(names) <= 10 else [*names[:9], f"and {len(names) - 9:,} more"])


def protocol(
    labels: Tensor,
    classes: Sequence[str],
    said: Mapping[str, str],
    trained: Collection[str] | None,
    *,
    where: str,
    run: str,
) -> Protocol | None:
    """Find the protocol; None where labels are not asked for.

    Args:
        labels: of the samples, int64 [n]; below 0: none.
        classes: of the samples.
        said: "outlier_labels" and "normal_labels", as the options have them.
        trained: names of the classes that the run was trained on; None: not known.
        where: the data, for messages.
        run: the run, for messages.

    Raises:
        UserError: there are no labels, no such class, no sample of one kind, or the run was trained on outliers or
            on none of what is called normal: what its scores would say then has no name.
    """
    given = {name: value for name, value in said.items() if value}
    if not given:
        return None
    if len(given) == 2:
        raise UserError("give --outlier_labels or --normal_labels: each is what the other one leaves")
    ((name, value),) = given.items()
    option = f"--{name} {value}"
    if not classes:
        raise UserError(f"{option}: {where} has no labels: make shards with classes, as `ragdist.shards FOLDER OUT`")
    named = _named(value, classes, option)
    present = [label for number, label in enumerate(classes) if bool((labels == number).any())]
    outliers = [label for label in present if (label in named) == (name == "outlier_labels")]
    normal = [label for label in present if label not in outliers]
    if not outliers or not normal:
        kind = "outlier" if not outliers else "normal sample"
        raise UserError(f"{option}: {where} holds no {kind}, and without some there is nothing to tell apart")
    if trained is not None:
        _check(option, outliers, normal, trained, run)
    numbers = torch.tensor([classes.index(label) for label in outliers])
    called = _name(outliers, normal, trained)
    kept = tuple(trained) if trained is not None else None
    return Protocol(called, tuple(outliers), tuple(normal), kept, torch.isin(labels, numbers), labels >= 0)


def _named(value: str, classes: Sequence[str], option: str) -> set[str]:
    names = {part.strip() for part in value.split(",") if part.strip()}
    for each in sorted(names):
        if each not in classes:
            raise UserError(f"{option}: there is no class '{each}'{nearest(each, classes)}")
    return names


def _check(option: str, outliers: list[str], normal: list[str], trained: Collection[str], run: str) -> None:
    """Refuse what would mix protocols. Raises UserError."""
    if mixed := [label for label in outliers if label in trained]:
        raise UserError(
            f"{option}: {run} was trained on {_list(mixed)}, which is to be an outlier: train on data without it, as "
            f"`python -m ragdist.shards SOURCE OUT --without {','.join(mixed)}` makes them"
        )
    if unknown := [label for label in normal if label not in trained]:
        raise UserError(
            f"{option}: {run} was not trained on {_list(unknown)}, which is to be normal: give --normal_labels "
            f"{','.join(label for label in normal if label in trained) or _list(trained)}, or DATA without it"
        )


def _name(outliers: list[str], normal: list[str], trained: Collection[str] | None) -> str:
    """The protocol's name, by what was trained on; where that is not known by the samples' classes."""
    if len(trained if trained is not None else normal) == 1:
        return ONE_CLASS
    return LEAVE_ONE_OUT if len(outliers) == 1 else OTHER
