"""Scores of samples by D and G, the higher the less typical, and the distance to training samples beside them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ragdist.config.outliers import OutlierOptions
from ragdist.distributed.world import full_precision
from ragdist.evaluation.outliers.inversion import Inverted, invert
from ragdist.evaluation.outliers.networks import Networks
from ragdist.evaluation.reference_data import Batch, DataSet
from ragdist.generation import sampling
from ragdist.metrics.neighbours import nearest
from ragdist.tools import noise
from ragdist.tools.threads import side_by_side

READ, READ_TO_INVERT = 1024, 256  # samples that are read at a time


class Title(NamedTuple):
    """Words about a score: for a table, and for the page."""

    short: str
    long: str


# The columns of the CSV, in this order; {points}: what the modality's points are. `training` is no score of D and G: it
# is what they are held against.
SCORES = {
    "logit": Title("-D(x)", "D's logit with its sign changed"),
    "features": Title("distance in D's features", "distance to the nearest generated sample in D's last hidden layer"),
    "points": Title("distance in {points}", "distance to the nearest generated sample in {points}"),
    "residual": Title("residual in {points}", "distance in {points} to what G makes of the latent that was found"),
    "combined": Title(
        "combined", "geometric mean of the distances to generated samples, in D's features and in {points}"
    ),
    "training": Title(
        "baseline: training data, in {points}", "distance in {points} to the nearest training sample, without D and G"
    ),
}
BASELINE = "training"


def combined(columns: dict[str, Tensor]) -> Tensor:
    """The geometric mean of the distances among the columns: their order of samples, whatever their units are."""
    distances = torch.stack([columns[name] for name in ("features", "points", "residual") if name in columns])
    return distances.log().mean(0).exp()


class Seen(NamedTuple):
    """What D and the modality make of samples, float32."""

    points: Tensor  # [n, P]
    features: Tensor  # [n, F]
    logits: Tensor  # [n]: of the likeliest class where D is conditioned on them


@dataclass
class Scored:
    """Scores of the samples that could be read, in their order; each a column float64 [n]."""

    numbers: np.ndarray  # int64 [n]: which samples of the data these are
    labels: Tensor  # int64 [n]; -1: none
    columns: dict[str, Tensor]
    nearest_sample: Tensor  # int64 [n]: number of the generated sample that is nearest in points
    nearest_training: Tensor | None  # int64 [n]: number of the training sample
    latents: Tensor | None  # float32 [n, z_dim], where latents were sought


class Scorer:
    """Scores of samples by a run's networks.

    Args:
        networks: D and G.
        options: of `ragdist.outliers`.
        training: the training data, for distances to them; None: they are not at hand.
        advance: counts generated and training samples that are looked at.
    """

    @full_precision()
    def __init__(
        self, networks: Networks, options: OutlierOptions, training: DataSet | None, advance: Callable[[int], None]
    ):
        self.networks, self.options = networks, options
        self.device = next(networks.generator.parameters()).device
        self.training, self._numbers = None, np.zeros(0, np.int64)
        made = []
        count = options.samples
        for samples in sampling.sample(networks.generator, options.seed, count, batch=options.batch):
            made += self._seen(samples)
            advance(len(samples))
        self.generated = Seen(*map(torch.cat, zip(*made, strict=True)))
        if training is not None:
            self._numbers = np.sort(training.drawn(options.reals))
            found = []
            for batch in training.batches(self._numbers, READ):
                found.append((batch.places, self.points(self._network(batch.samples))))
                advance(len(batch.places))
            places, points = map(torch.cat, zip(*found, strict=True))
            self._numbers, self.training = self._numbers[places.numpy()], points

    @property
    def reals(self) -> int:
        """The number of training samples of which the nearest is sought."""
        return len(self._numbers)

    def points(self, samples: Tensor) -> Tensor:
        """Points of samples as networks see them, float32 [n, P]."""
        return self.networks.modality.points(samples, self.networks.pool)

    def _network(self, stored: Tensor) -> Tensor:
        return self.networks.modality.to_network(stored.to(self.device), self.networks.form)

    def _seen(self, samples: Tensor) -> list[Seen]:
        """What D and the modality make of samples as networks see them, batch by batch."""
        discriminator = self.networks.discriminator
        classes = discriminator.embed.num_embeddings if discriminator.embed is not None else 0

        @torch.no_grad()
        def seen(part: Tensor) -> Seen:
            features = discriminator.features(part)
            if not classes:
                logits = discriminator.logits(features)
            else:
                labels = torch.arange(classes, device=part.device)
                logits = torch.stack([discriminator.logits(features, k.expand(len(part))) for k in labels]).amax(0)
            return Seen(self.points(part), features.flatten(1).float(), logits.float())

        parts = samples.split(self.options.batch)
        return list(side_by_side([partial(seen, part) for part in parts], self.device))

    def latents(self, numbers: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents [n, z_dim] and labels [n] of the generated samples with these numbers."""
        generator = self.networks.generator
        first = [noise.normal(self.options.seed, noise.GRID, n, 1, generator.z_dim) for n in numbers.tolist()]
        labels = numbers % generator.num_classes if generator.num_classes else None  # as `sampling.labels_for`
        z = torch.from_numpy(np.concatenate(first)).to(self.device)
        return z, None if labels is None else labels.to(self.device)

    @full_precision()
    def score(self, batches: Iterator[Batch], advance: Callable[[int], None]) -> Scored:
        """Score all samples of stored batches, whose places count from 0.

        Args:
            batches: in any order; a bad sample may be missing.
            advance: counts those that are done.
        """
        parts = []
        for batch in batches:
            parts.append(self._part(batch))
            advance(len(batch.places))
        columns = {name: torch.cat([part.columns[name] for part in parts]) for name in parts[0].columns}
        places = torch.cat([torch.from_numpy(part.numbers) for part in parts])
        order = places.argsort()

        def joined(name: str) -> Tensor | None:
            found = [getattr(part, name) for part in parts]
            return None if found[0] is None else torch.cat(found)[order]

        columns = {name: column[order] for name, column in columns.items()}
        return Scored(
            places[order].numpy(), joined("labels"), columns, joined("nearest_sample"), joined("nearest_training"),
            joined("latents"),
        )  # fmt: skip

    def _part(self, batch: Batch) -> Scored:
        samples = self._network(batch.samples)
        seen = Seen(*map(torch.cat, zip(*self._seen(samples), strict=True)))
        in_points = nearest(seen.points, self.generated.points)
        in_features = nearest(seen.features, self.generated.features)
        closest = in_points.index[:, 0].cpu()
        columns = {
            "logit": -seen.logits.double().cpu(),
            "features": in_features.distance[:, 0].cpu(),
            "points": in_points.distance[:, 0].cpu(),
        }
        latents, number = None, None
        if self.options.invert:
            found = self._inverted(seen.points, closest)
            columns["residual"], latents = found.residual.double().cpu(), found.z.cpu()
        columns["combined"] = combined(columns)
        if self.training is not None:
            near = nearest(seen.points, self.training)
            columns[BASELINE] = near.distance[:, 0].cpu()
            number = torch.from_numpy(self._numbers)[near.index[:, 0].cpu()]
        return Scored(batch.places.numpy(), batch.labels, columns, closest, number, latents)

    def _inverted(self, points: Tensor, closest: Tensor) -> Inverted:
        """Latents of samples with these points, from those of the generated samples that are nearest."""
        options, networks = self.options, self.networks
        z, labels = self.latents(closest)
        work = [
            partial(
                invert, networks.generator, networks.modality, networks.pool, points[part], z[part],
                None if labels is None else labels[part], steps=options.invert, rate=options.rate,
            )
            for part in (slice(i, i + options.batch) for i in range(0, len(points), options.batch))
        ]  # fmt: skip
        return Inverted(*map(torch.cat, zip(*side_by_side(work, self.device), strict=True)))

    def made(self, scored: Scored, rows: Tensor) -> Tensor:
        """What G makes nearest to the samples in these rows, stored: of the latents found, else of those drawn."""
        z, labels = self.latents(scored.nearest_sample[rows])
        if scored.latents is not None:
            z = scored.latents[rows].to(self.device)
        with torch.no_grad():
            samples = self.networks.generator(z, labels)
        return self.networks.modality.from_network(samples, self.networks.form).cpu()
