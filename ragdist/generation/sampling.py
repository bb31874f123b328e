"""Sampling of a generator from numbered latents: sample i is a function of seed and i."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ragdist.networks.base import Generator
from ragdist.tools import noise
from ragdist.tools.threads import side_by_side


def labels_for(first: int, count: int, classes: int, chosen: int | None = None) -> Tensor | None:
    """Labels of samples first, ...: the chosen class, or all classes in turn; None without classes."""
    if not classes:
        return None
    return torch.arange(first, first + count) % classes if chosen is None else torch.full((count,), chosen)


def labels_like(seed: int, first: int, count: int, shares: np.ndarray) -> Tensor:
    """Labels of samples first, ...: each class as likely as its share [classes] says, sample i's a function of i."""
    bounds = np.cumsum(shares, dtype=np.float64)
    uniform = noise.uniform(seed, noise.LABEL, first, count, 1)[:, 0]
    return torch.from_numpy(np.searchsorted(bounds[:-1] / bounds[-1], uniform, side="right"))


def sample(
    generator: Generator,
    seed: int,
    count: int,
    *,
    first: int = 0,
    chosen: int | None = None,
    labels: Callable[[int, int], Tensor | None] | None = None,
    batch: int = 64,
) -> Iterator[Tensor]:
    """Batches of samples first, ..., first + count - 1 of this seed: float32 in [-1, 1] on the generator's device.

    ``labels`` gives those of samples (first, count); without it they are `labels_for`.

    On a CPU batches are made side by side, each in one thread: they have the same bits with any number of threads.
    """
    device = next(generator.parameters()).device

    @torch.no_grad()
    def made(start: int) -> Tensor:
        n = min(batch, first + count - start)
        z = torch.from_numpy(noise.normal(seed, noise.GRID, start, n, generator.z_dim)).to(device)
        y = labels(start, n) if labels else labels_for(start, n, generator.num_classes, chosen)
        return generator(z, None if y is None else y.to(device))

    yield from side_by_side([partial(made, start) for start in range(first, first + count, batch)], device)


@torch.no_grad()
def interpolate(
    generator: Generator,
    seed: int,
    count: int,
    points: int,
    frames: int,
    *,
    chosen: int | None = None,
    closed: bool = True,
) -> Iterator[Tensor]:
    """Frames of an interpolation: ``count`` samples through ``points`` latents each, ``closed``: and back to the first.

    Between two latents it goes along the arc (spherical interpolation): the straight line would pass
    through shorter latents than G was trained on. A sample's label stays.
    """
    device = next(generator.parameters()).device
    stops = noise.normal(seed, noise.PATH, 0, count * points, generator.z_dim)
    stops = torch.from_numpy(stops).view(count, points, -1).to(device)
    labels = labels_for(0, count, generator.num_classes, chosen)
    labels = None if labels is None else labels.to(device)
    for point in range(points if closed else points - 1):
        a, b = stops[:, point], stops[:, (point + 1) % points]
        for frame in range(frames):
            yield generator(_slerp(a, b, frame / frames), labels)
    if not closed:
        yield generator(stops[:, -1], labels)


def _slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    angle = torch.acos(torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)).unsqueeze(1)
    near = angle < 1e-4
    angle = torch.where(near, torch.ones_like(angle), angle)
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return torch.where(near, a, arc)
