"""Transfer: what a network starts from of another one's weights, by name or by the size that a module works at.

Pure functions of names, shapes and tensors; `transfer_source` reads what they are applied to. (Fine-tuning of GANs:
Wang et al. 2018; D's frozen stages: FreezeD, Mo et al. 2020; by size: growing, Karras et al. 2018, without fading.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ragdist.networks.base import BASE, Discriminator, Generator, Stage
from ragdist.tools.errors import UserError

NO_NAME, NO_SIZE, CLASSES, SHAPE = "no such name", "no such size", "other classes", "other shape"
NO_D = "the source has no D"
_EMBEDDING = "embed.weight"  # of the labels, in G and in D


@dataclass(frozen=True)
class Layout:
    """What is to be known of a network to match it with another one."""

    shapes: dict[str, tuple[int, ...]]  # of its tensors, by name
    stages: list[Stage] = field(default_factory=list)
    columns: dict[str, range] = field(default_factory=dict)  # of a code, by what they hold; those of D: none


def layout(network: Generator | Discriminator) -> Layout:
    """The layout of a network."""
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    columns, end = {}, 0
    if isinstance(network, Generator):
        parts = {"z": True, "labels": network.embed is not None, "codes": network.codes is not None}
        for name, there in parts.items():
            if there:
                columns[name], end = range(end, end + network.z_dim), end + network.z_dim
    return Layout(shapes, network.by_size(), columns)


class Why(NamedTuple):
    """Why a tensor is not loaded."""

    kind: str
    example: str = ""


@dataclass
class Match:
    """What a network's tensors start from: each here is loaded or fresh, and each of the source loaded or refused."""

    loaded: dict[str, str] = field(default_factory=dict)  # the name here -> in the source
    partly: dict[str, list[tuple[range, range]]] = field(default_factory=dict)  # of these: columns here, and there
    fresh: dict[str, Why] = field(default_factory=dict)  # the name here
    refused: dict[str, Why] = field(default_factory=dict)  # the name in the source


def match(target: Layout, source: Layout, *, grow: bool = False, same_classes: bool = True) -> Match:
    """Match a network's tensors with those of a source.

    Args:
        target: the network that starts.
        source: the network of whose weights.
        grow: match modules by what they are for and the size that they work at, and not by their names.
        same_classes: whether labels mean the same to both; else their embeddings stay fresh.
    """
    mine, theirs = _keys(target, grow), _keys(source, grow)
    found, base = Match(), _base(target)
    for key, name in mine.items():
        other = theirs.get(key)
        if other is None:
            found.fresh[name] = Why(_absent(name, target, grow))
            continue
        here, there = target.shapes[name], source.shapes[other]
        common = _common(target, source) if name == base else []
        if name == _EMBEDDING and not same_classes:
            found.fresh[name] = found.refused[other] = Why(CLASSES)
        elif here == there:
            found.loaded[name] = other
        elif common and here[0] == there[0]:
            found.loaded[name], found.partly[name] = other, common
        else:
            found.fresh[name] = found.refused[other] = Why(SHAPE, f"{name} {list(here)} and there {list(there)}")
    for key, name in theirs.items():
        if key not in mine:
            found.refused[name] = Why(_absent(name, source, grow))
    return found


def nothing(target: Layout) -> Match:
    """The match of a D whose source has none."""
    return Match(fresh=dict.fromkeys(target.shapes, Why(NO_D)))


def taken(state: Mapping[str, Tensor], source: Mapping[str, Tensor], found: Match) -> dict[str, Tensor]:
    """The state that a network starts from: ``state``, with what is loaded of the source's in its place."""
    new = {name: value.detach().clone() for name, value in state.items()}
    with torch.no_grad():
        for name, other in found.loaded.items():
            if name not in found.partly:
                new[name].copy_(source[other])
            for here, there in found.partly.get(name, []):
                new[name][:, here.start : here.stop] = source[other][:, there.start : there.stop]
    return new


def freeze(discriminator: Discriminator, count: int) -> set[str]:
    """Take the ``count`` stages nearest the input out of D's training; the names of their parameters.

    Raises:
        UserError: D has fewer.
    """
    stages = discriminator.by_size()
    if count > len(stages):
        has = f"has {len(stages)} stages: give at most so many" if stages else "says of no stages: leave it out"
        raise UserError(f"--freeze_d {count}: this D {has}")
    modules = [module for stage in stages[:count] for module in stage.modules.values()]
    frozen = {name for name, _ in discriminator.named_parameters() if any(_is_in(name, module) for module in modules)}
    for name in frozen:
        discriminator.get_parameter(name).requires_grad_(False)
    return frozen


def in_stages(found: Match, target: Layout) -> int:
    """The number of weights, not biases, of a network's stages that are loaded; of all where it says of no stages."""
    modules = [module for stage in target.stages for module in stage.modules.values()]
    weights = [name for name in found.loaded if len(target.shapes[name]) > 1]
    return sum(not modules or any(_is_in(name, module) for module in modules) for name in weights)


# The table.


def table(found: Mapping[str, tuple[Match, Layout, Layout]]) -> list[str]:
    """Lines that say of networks, by their names, what is loaded, fresh and refused, with the reasons."""
    rows = [("", "", "tensors", "numbers", "")]
    for network, (one, target, source) in found.items():
        part = f"of {', '.join(one.partly)} a part" if one.partly else ""
        rows.append((network, "loaded", f"{len(one.loaded):,}", f"{_loaded_numbers(one, target):,}", part))
        rows += _rows("fresh", one.fresh, target) + _rows("refused", one.refused, source)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"  {name:<{widths[0]}}  {what:<{widths[1]}}  {count:>{widths[2]}}  {numbers:>{widths[3]}}  {why}".rstrip()
        for name, what, count, numbers, why in rows
    ]


def _rows(what: str, names: dict[str, Why], of: Layout) -> list[tuple[str, str, str, str, str]]:
    """Rows of what is not loaded, one for each kind of reason."""
    rows = []
    for kind in dict.fromkeys(why.kind for why in names.values()):
        members = [name for name, why in names.items() if why.kind == kind]
        numbers = sum(_numel(of.shapes[name]) for name in members)
        example = next((f", as {names[name].example}" for name in members if names[name].example), "")
        rows.append(
            ("", what, f"{len(members):,}", f"{numbers:,}", f"{kind}{example}: {', '.join(_modules(members, of))}")
        )
    return rows


def _loaded_numbers(one: Match, target: Layout) -> int:
    whole = sum(_numel(target.shapes[name]) for name in one.loaded if name not in one.partly)
    return whole + sum(target.shapes[name][0] * len(here) for name, parts in one.partly.items() for here, _ in parts)


def _modules(names: list[str], of: Layout) -> list[str]:
    """The modules of stages that tensors are of, or else their own first names."""
    modules = [module for stage in of.stages for module in stage.modules.values()]
    found = [next((module for module in modules if _is_in(name, module)), name.partition(".")[0]) for name in names]
    return list(dict.fromkeys(found))


def _numel(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


# Names.


def _keys(of: Layout, grow: bool) -> dict[str, str]:
    """Names of a network's tensors, by what is equal in another network for what corresponds."""
    return {(_key_by_size(name, of) if grow else name): name for name in of.shapes}


def _key_by_size(name: str, of: Layout) -> str:
    for size, modules in of.stages:
        for purpose, module in modules.items():
            if _is_in(name, module):
                return f"{purpose} at {size}{name.removeprefix(module)}"
    return name


def _absent(name: str, of: Layout, grow: bool) -> str:
    return NO_SIZE if grow and _key_by_size(name, of) != name else NO_NAME


def _is_in(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")


def _base(of: Layout) -> str | None:
    """The weight of G's linear layer that takes the code."""
    return next((f"{stage.modules[BASE]}.weight" for stage in of.stages if BASE in stage.modules), None)


def _common(target: Layout, source: Layout) -> list[tuple[range, range]]:
    """Columns of the code, here and there, that both networks have; none where their latents differ."""
    common = [(here, source.columns[name]) for name, here in target.columns.items() if name in source.columns]
    return common if common and all(len(here) == len(there) for here, there in common) else []
