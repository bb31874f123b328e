"""One synchronized update of G and D: the losses, and how their gradients are obtained.

`Update` is a module over both networks whose forward returns the loss to back-propagate, so that
DistributedDataParallel can wrap it as a whole: one backward, one reduction. What is summed over the global batch beside
the gradients (statistics, whether to stop) rides along as the gradient of `report`.

One pass. With c_i = (dL_G/df_i) / (dL_D/df_i) the gradient of L_G at fake i is c_i times that of L_D
there, because no layer of D mixes samples. So fakes enter D through an identity whose backward
multiplies sample i's gradient by c_i, and one backward of L_D leaves L_D's gradients on D and L_G's
on G. (Sharing one gradient between the players: One-Stage GAN, Shen et al., CVPR 2021.)

On a penalty step R2 needs dD(G(z_i))/dG(z_i) anyway. Fakes then enter D cut off from G, which gets
dL_G/df_i times that derivative: read off `autograd.grad` it is free of the penalty's own gradient. The penalty
between reals and fakes has a pass of D of its own, whose gradient is D's alone: the rest is as without it.

The update is simultaneous: both gradients are taken at the same weights. `alternating`, D first and
then G against the new D, is the reference, and the only one for a D whose layers mix samples.

Compiled networks: what torch.compile makes can be differentiated once, and always to everything at once. So G's
forward is compiled on every update, and D's where its logits are differentiated once, to its weights and its inputs:
not with penalties, which differentiate twice, nor where a gradient is taken to the fakes alone.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ragdist.config.division import group_size
from ragdist.config.run import ObjectiveOptions
from ragdist.networks.base import Discriminator, Generator
from ragdist.networks.conv import penalized
from ragdist.objective import ADVERSARIAL
from ragdist.objective.adversarial import one_pass_factors, slopes
from ragdist.objective.penalty import distance_to_slope_one, input_gradients, interpolates, squared_norm
from ragdist.objective.relative import Relative, flatten, relative_term
from ragdist.training.batch import Batch
from ragdist.training.compiling import compiled
from ragdist.training.worker_signals import SIGNALS

# What forward reports beside the loss; every entry is a sum over the slots / the global batch.
STATISTICS = (
    "loss_g",
    "loss_d",
    "logit_real",
    "logit_fake",
    "relative_distance",
    "distance_to_real",
    "distance_to_fake",
    "coverage",
    "pair_accuracy",
    "r1",
    "r2",
    "gp",
)

ONE_PASS = ("both",)
ALTERNATING = ("d", "g")


class Update(nn.Module):
    """The losses of one update, over a generator and a discriminator.

    Args:
        generator: G; shares its parameters with this module.
        discriminator: D, likewise.
        options: the objective.
        batch_size: the *global* batch: losses are sums over the given slots, divided by it, so that the
            sum over micro-batches and logical workers is the loss of the whole.
        precision: "bf16" to run the networks under autocast; "fp32" or "tf32", which the device knows already.
        points: (samples, pool) -> points [b, D]: the space of the relative term, the modality's.
        augment: (samples, numbers [b, width]) -> samples: the random transforms of what D sees, of each alone; the
            relative term sees samples as they are, and penalties are of D with the transform before it.
        compile: whether torch.compile makes the networks' code, when it is first needed; the modules stay as they are.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        options: ObjectiveOptions,
        *,
        batch_size: int,
        precision: str = "fp32",
        points: Callable[[Tensor, int], Tensor] = flatten,
        augment: Callable[[Tensor, Tensor], Tensor] | None = None,
        compile: bool = False,
    ):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        # Is 0 and is never stepped; its gradient is STATISTICS and SIGNALS, reduced with all other gradients.
        self.report = nn.Parameter(torch.zeros(len(STATISTICS) + len(SIGNALS)))
        self.options = options
        self.batch_size = batch_size
        self.group = group_size(batch_size, options.group)
        self.precision = precision
        self.points = points
        self.augment = augment
        self.adversarial = ADVERSARIAL[options.adversarial]
        self.compiled: list[Callable] | None = None
        if compile:
            self._compile()

    def _compile(self) -> None:
        # Without the embeddings of labels, whose gradient would be summed in any order.
        self.compiled = compiled(self.generator.render, self.discriminator.features)

    # As one of several logical workers.

    def replica(self) -> "Update":
        """A copy whose networks share their weights with this one's, and have gradients of their own."""
        made, self.compiled = self.compiled, None  # which belongs to these networks
        twin = copy.deepcopy(self)
        self.compiled = made
        for mine, shared in zip(twin.parameters(), self.parameters(), strict=True):
            mine.data = shared.data
        if made:
            twin._compile()
        return twin

    def take_gradients(self) -> list[Tensor | None]:
        """The parameters' gradients, in their order; the parameters are left without."""
        gradients = [parameter.grad for parameter in self.parameters()]
        self.zero_grad(set_to_none=True)
        return gradients

    def set_gradients(self, gradients: list[Tensor | None]) -> None:
        """Give the parameters these gradients, in their order."""
        for parameter, gradient in zip(self.parameters(), gradients, strict=True):
            parameter.grad = gradient

    def forward(
        self, batch: Batch, phase: str, lam: float, penalty: bool, signals: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss whose backward leaves the phase's gradients, and the statistics.

        Args:
            batch: slots; whole pairing groups.
            phase: "both" (one pass), or "d" or "g" of the alternating update.
            lam: the relative term's weight now.
            penalty: whether the gradient penalties are due.
            signals: a worker's SIGNALS, float32 [len(SIGNALS)], which it gives once an update; None: nothing.

        Returns:
            A scalar, and the STATISTICS of these slots, float32 [len(STATISTICS)], detached.
        """
        losses = {"both": self._both, "d": self._discriminator, "g": self._generator}[phase]
        loss, statistics = losses(batch, lam, penalty)
        values = [statistics.get(name) for name in STATISTICS]
        zero = loss.new_zeros(())
        statistics = torch.stack([zero if value is None else value.detach() for value in values]) / self.batch_size
        signals = statistics.new_zeros(len(SIGNALS)) if signals is None else signals
        return loss / self.batch_size + (self.report * torch.cat([statistics, signals])).sum(), statistics

    # The three phases. Each returns sums over the slots.

    def _both(self, batch: Batch, lam: float, penalty: bool):
        fake, between = self._fakes(batch), penalty and self.options.gp > 0
        penalty = penalty and self.options.at_samples
        if penalty:
            # Cut off from G: the penalty's own gradient at the fakes is D's business alone.
            real, fake_input = batch.real.detach().requires_grad_(), fake.detach().requires_grad_()
        else:
            real, scaled = batch.real, fake.view_as(fake)
            scaled.register_hook(lambda gradient: gradient * per_sample(ratio, gradient))
            fake_input = scaled.view_as(scaled)
        once = not penalty and not self._in_features
        seen = self._seen(real, fake_input, batch.augment)
        r, f, real_features, fake_features = self._logits_of_both(*seen, batch.labels, penalty, once)
        loss = self.adversarial.d_loss(r, f).sum()
        statistics = self._adversarial_statistics(r, f)
        if penalty:
            d_gradient, penalties, more = self._penalty(real, fake_input, r, f)
            _, g_slope = slopes(self.adversarial, r, f)
            loss = loss + penalties + _linear(fake, d_gradient * per_sample(g_slope, d_gradient))
            statistics |= more
        else:
            lift, ratio = one_pass_factors(self.adversarial, r, f)
            loss = loss + (lift * f).sum()
        if between:
            penalties, more = self._penalty_between(batch, fake)
            loss = loss + penalties
            statistics |= more
        term, distances = self._relative(batch, fake, fake_input, real_features, fake_features, lam)
        return loss + term, statistics | distances

    def _discriminator(self, batch: Batch, lam: float, penalty: bool):
        with torch.no_grad():
            fake = self._fakes(batch)
        between, penalty = penalty and self.options.gp > 0, penalty and self.options.at_samples
        real = batch.real.detach().requires_grad_(penalty)
        fake.requires_grad_(penalty)
        seen = self._seen(real, fake, batch.augment)
        r, f, _, _ = self._logits_of_both(*seen, batch.labels, penalty, not penalty)
        loss = self.adversarial.d_loss(r, f).sum()
        statistics = self._adversarial_statistics(r, f)
        del statistics["loss_g"]  # this phase is followed by G's own, against the new D
        if penalty:
            _, penalties, more = self._penalty(real, fake, r, f)
            loss = loss + penalties
            statistics |= more
        if between:
            penalties, more = self._penalty_between(batch, fake)
            loss = loss + penalties
            statistics |= more
        return loss, statistics

    def _generator(self, batch: Batch, lam: float, penalty: bool):
        fake = self._fakes(batch)
        fake_input = fake.detach().requires_grad_()
        real_seen, fake_seen = self._seen(batch.real, fake_input, batch.augment)
        with torch.no_grad():
            needed = self.adversarial.g_needs_real or self._in_features
            r, real_features = self._logits(real_seen, batch.labels) if needed else (None, None)
        f, fake_features = self._logits(fake_seen, batch.labels)
        loss = self.adversarial.g_loss(r, f).sum()
        # The gradient at the fakes, taken apart: D's weights get none from here.
        (gradient,) = torch.autograd.grad(loss, fake_input, retain_graph=self._in_features)
        term, distances = self._relative(batch, fake, fake_input, real_features, fake_features, lam)
        return _linear(fake, gradient) + term, distances | {"loss_g": loss}

    # Their parts.

    def _autocast(self, x: Tensor):
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _fakes(self, batch: Batch) -> Tensor:
        render = self.compiled[0] if self.compiled else self.generator.render
        with self._autocast(batch.z):
            return render(self.generator.code(batch.z, batch.labels)).float()

    def _seen(self, real: Tensor, fake: Tensor, numbers: Tensor | None) -> tuple[Tensor, Tensor]:
        """What D sees of reals and fakes."""
        if self.augment is None or numbers is None:
            return real, fake
        return self.augment(real, numbers[:, 0]), self.augment(fake, numbers[:, 1])

    def _logits(self, x: Tensor, labels: Tensor | None, penalty: bool = False, once: bool = False):
        """Logits [b] and features [b, D]; ``once``: differentiated once, to D's weights and x together, if at all."""
        features_of = self.compiled[1] if self.compiled and once else self.discriminator.features
        with self._autocast(x), penalized(self.discriminator) if penalty else nullcontext():
            features = features_of(x)
        # Outside autocast: bfloat16 has steps of 1/16 at a logit of 12, and losses take differences.
        return self.discriminator.logits(features, labels), features

    def _logits_of_both(self, real: Tensor, fake: Tensor, labels: Tensor | None, penalty: bool, once: bool):
        """Logits [b] of reals and of fakes, then the features [b, D] of both, from one call of D."""
        both = None if labels is None else torch.cat([labels, labels])
        logits, features = self._logits(torch.cat([real, fake]), both, penalty, once)
        return *logits.chunk(2), *features.chunk(2)

    def _penalty(self, real: Tensor, fake: Tensor, r: Tensor, f: Tensor):
        """D's derivatives at the fakes (detached), the sum of R1 and R2, statistics.

        Due every k-th update it counts k times there (lazy regularization, Karras et al. 2020).
        """
        at_real, at_fake = input_gradients(torch.cat([r, f]), [real, fake])
        r1, r2 = squared_norm(at_real).sum() / 2, squared_norm(at_fake).sum() / 2
        loss = self.options.penalty_every * (self.options.r1 * r1 + self.options.r2 * r2)
        return at_fake.detach(), loss, {"r1": 2 * r1, "r2": 2 * r2}

    def _penalty_between(self, batch: Batch, fake: Tensor):
        """The sum of the penalty between reals and fakes, due as R1 and R2 are; statistics."""
        between = interpolates(batch.real, fake, batch.shares)
        seen = between if self.augment is None or batch.augment is None else self.augment(between, batch.augment[:, 0])
        logits, _ = self._logits(seen, batch.labels, penalty=True)
        (gradient,) = input_gradients(logits, [between])
        gp = distance_to_slope_one(gradient).sum()
        return self.options.penalty_every * self.options.gp * gp, {"gp": gp}

    @property
    def _in_features(self) -> bool:
        return self.options.space == "feature" and self.options.lam > 0

    def _relative(self, batch: Batch, fake: Tensor, fake_input: Tensor, real_features, fake_features, lam: float):
        """lam times the relative term as a loss with gradients at the fakes alone, and its statistics."""
        options = self.options
        if options.lam == 0:
            with torch.no_grad():  # a baseline without the term still says how far its fakes are
                return 0.0, self._distances(self._term(batch, *self._points(batch.real, fake)))
        if not self._in_features:
            term = self._term(batch, *self._points(batch.real, fake))
            assert term.term.requires_grad, "the relative term lost its gradient"
            return lam * term.term, self._distances(term)
        term = self._term(batch, real_features, fake_features)
        # Through D to its input: D's weights are not trained by this term, and c_i is not applied.
        (gradient,) = torch.autograd.grad(term.term, fake_input, retain_graph=True)
        return lam * _linear(fake, gradient), self._distances(term)

    def _points(self, *samples: Tensor) -> list[Tensor]:
        return [self.points(each, self.options.pool) for each in samples]

    def _term(self, batch: Batch, real: Tensor, fake: Tensor) -> Relative:
        """The relative term of points, or features, [b, D]."""
        options = self.options
        return relative_term(
            real.float(),
            fake.float(),
            batch.labels,
            pairing=options.pairing,
            relative=options.relative,
            p=options.p,
            group=self.group,
        )

    @staticmethod
    def _distances(term: Relative) -> dict[str, Tensor]:
        return {
            "relative_distance": term.term,
            "distance_to_real": term.to_real,
            "distance_to_fake": term.to_fake,
            "coverage": term.covered,
        }

    def _adversarial_statistics(self, r: Tensor, f: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                "loss_d": self.adversarial.d_loss(r, f).sum(),
                "loss_g": self.adversarial.g_loss(r, f).sum(),
                "logit_real": r.sum(),
                "logit_fake": f.sum(),
                "pair_accuracy": (0.5 + 0.5 * torch.sign(r - f)).sum(),
            }


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values [b] to multiply ``like`` [b, ...]."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def _linear(fake: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient at the fakes is ``gradient`` and nothing else."""
    return (fake * gradient.detach()).sum()
