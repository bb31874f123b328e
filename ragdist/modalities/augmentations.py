"""Augmentations of what D sees: rows of random transforms, and the chain of those that a run asks for.

Reals and fakes alike are transformed in front of D, so that it cannot learn the data by heart and G is still trained
towards them: its gradient comes through the transform (DiffAugment, Zhao et al. 2020; ADA, Karras et al. 2020). Each
transform happens to a sample with the probability p, its strength. Transforms are differentiable twice, as gradient
penalties need, and of a sample alone; what is random about them comes as uniform numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Transform(NamedTuple):
    """A random transform of samples."""

    # (samples [b, *shape], on [b, switches], uniform [b, draws]) -> samples [b, *shape]. ``on`` is 1 where a part of
    # the transform happens to a sample, else 0: where all are 0 the sample stays, to rounding.
    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    draws: int | Callable[[Shape], int] = 1  # uniform numbers in [0, 1) that a sample of this shape takes
    switches: int = 1  # parts that happen with probability p each

    def numbers(self, shape: Shape) -> int:
        """How many uniform numbers a sample takes."""
        return self.draws(shape) if callable(self.draws) else self.draws


@dataclass(frozen=True)
class Augmentations:
    """The transforms that a modality offers.

    Args:
        transforms: by name, in the order in which they are made.
        groups: names for several of them, comma-separated names each, which may be groups in turn.
        adaptive: groups that are made for a strength that follows the training.
        check: (name, shape of a sample) -> the reason why it cannot be transformed so, the end of a sentence, or "".
    """

    transforms: Mapping[str, Transform] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    adaptive: frozenset[str] = frozenset()
    check: Callable[[str, Shape], str] = lambda name, shape: ""

    def chain(self, names: str, shape: Shape) -> Chain:
        """The transforms of these comma-separated names, in the table's order.

        Raises:
            ValueError: there is none of a name, or none for samples of this shape; the end of a sentence.
        """
        wanted = self._spelled(names)
        for name in wanted:
            if problem := self.check(name, shape):
                raise ValueError(problem)
        return Chain([row for name, row in self.transforms.items() if name in wanted], shape)

    def _spelled(self, names: str) -> set[str]:
        found: set[str] = set()
        for name in (each.strip() for each in names.split(",")):
            if name in self.groups:
                found |= self._spelled(self.groups[name])
            elif name in self.transforms:
                found.add(name)
            else:
                offered = ", ".join([*self.groups, *self.transforms])
                raise ValueError(
                    f"such samples have no transform '{name}': " + (f"use {offered}" if offered else "none at all")
                )
        return found


class Chain:
    """Transforms one after the other, as one function of samples and uniform numbers.

    Args:
        transforms: in their order.
        shape: of a sample.
    """

    def __init__(self, transforms: list[Transform], shape: Shape):
        self.transforms = transforms
        self.switches = sum(each.switches for each in transforms)
        self.widths = [each.numbers(shape) for each in transforms]
        self.width = self.switches + sum(self.widths)  # numbers that a sample takes, the switches' first

    def switched(self, uniform: Tensor, p: Tensor) -> Tensor:
        """Uniform numbers [..., width] with those of switches replaced by 1, with probability p, and 0."""
        on = (uniform[..., : self.switches] < p).to(uniform.dtype)
        return torch.cat([on, uniform[..., self.switches :]], -1)

    def __call__(self, samples: Tensor, numbers: Tensor) -> Tensor:
        """Transform samples [b, *shape] by numbers [b, width] as of `switched`."""
        on = numbers[:, : self.switches].split([each.switches for each in self.transforms], 1)
        uniform = numbers[:, self.switches :].split(self.widths, 1)
        for each, switch, draws in zip(self.transforms, on, uniform, strict=True):
            samples = each.apply(samples, switch, draws)
        return samples


def each_sample(values: Tensor, samples: Tensor) -> Tensor:
    """Reshape values [b] or [b, 1] to be broadcast over samples [b, ...]."""
    return values.reshape(-1, *[1] * (samples.dim() - 1))


def normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones in [0, 1)."""
    return torch.special.ndtri(uniform.clamp(2.0**-25, 1 - 2.0**-25))


def steps(uniform: Tensor, count: int) -> Tensor:
    """Whole numbers from 0 to count - 1, equally likely: int64, of the shape of ``uniform``."""
    return (uniform * count).long().clamp_max(count - 1)


# Transforms of samples of any shape.


def gain(samples: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Louder or softer: times 2 to the power of a normal number of deviation 1/2."""
    return samples * each_sample(torch.exp2(0.5 * normal(uniform) * on), samples)


def noise(samples: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """White noise whose deviation is itself random, a tenth of a normal number's size (as ADA's)."""
    deviation = 0.1 * normal(uniform[:, :1]).abs() * on
    return samples + each_sample(deviation, samples) * normal(uniform[:, 1:]).reshape(samples.shape)


def noise_draws(shape: Shape) -> int:
    """Numbers that `noise` takes: one for the deviation, and one for each value of a sample."""
    return 1 + int(torch.Size(shape).numel())


# Transforms of samples [channels, length], as sounds.


def shift(samples: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Earlier or later by up to an eighth of the length; zeros come in."""
    length = samples.shape[-1]
    most = length // 8
    by = (steps(uniform, 2 * most + 1) - most) * on.long()
    return moved(samples, by, 2)


def mute(samples: Tensor, on: Tensor, uniform: Tensor) -> Tensor:
    """Zeros for a quarter of the length, around any place in it."""
    return samples * kept(samples.shape[-1], samples.shape[-1] // 4, on, uniform).unsqueeze(1)


def moved(samples: Tensor, by: Tensor, dim: int) -> Tensor:
    """Samples moved along an axis by whole numbers [b, 1], with zeros where nothing comes from."""
    size, shape = samples.shape[dim], [len(samples), *[1] * (samples.dim() - 1)]
    shape[dim] = size
    places = torch.arange(size, device=samples.device) - by
    inside = ((places >= 0) & (places < size)).to(samples.dtype).reshape(shape)
    return gathered(samples, (places % size).reshape(shape), dim) * inside


def gathered(samples: Tensor, places: Tensor, dim: int) -> Tensor:
    """What lies at places [b or 1, ..., n, ...] along an axis of samples; places are broadcast over other axes."""
    return samples.gather(dim, places.expand(*samples.shape[:dim], places.shape[dim], *samples.shape[dim + 1 :]))


def kept(length: int, hole: int, on: Tensor, uniform: Tensor) -> Tensor:
    """1 where an axis is kept and 0 in a hole around a random place: [b, length]; the hole may reach over an end."""
    start = steps(uniform, length + 1 - hole % 2) - hole // 2
    places = torch.arange(length, device=uniform.device)
    inside = (places >= start) & (places < start + hole)
    return 1 - inside.to(on.dtype) * on


OF_ANY = {"gain": Transform(gain), "noise": Transform(noise, noise_draws)}
OF_SOUNDS = {"gain": OF_ANY["gain"], "shift": Transform(shift), "mute": Transform(mute), "noise": OF_ANY["noise"]}
