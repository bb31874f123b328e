"""The strength of a run's augmentation: the random transforms of what D sees, and the probability p of each.

p is fixed, rises over samples, or follows the training: it grows while D tells reals from fakes too well and shrinks
while it does not (ADA, Karras et al. 2020). ADA asks how often D(real) > 0, which says nothing of an objective that
ignores a shift of D, as relativistic pairs do; so the share of pairs in which D prefers the real is held at a target.

p and what it is decided by are tensors on the device, changed there after the reduction: all workers have the same.
"""

import numpy as np
import torch
from torch import Tensor

from ragdist.config.run import AugmentOptions
from ragdist.modalities.augmentations import Augmentations, Chain, Shape
from ragdist.tools import noise
from ragdist.tools.errors import UserError
from ragdist.training.schedule import decay

EVERY = 4  # updates from one change of an adaptive p to the next, as ADA's


class Augmentation:
    """The augmentation of one worker's slots.

    Args:
        options: which transforms, and how strong.
        offered: the modality's transforms.
        shape: of a sample as networks see it.
        seed: of the run.
        batch_size: the global batch.
        device: of the networks.

    Raises:
        UserError: there is no such transform of such samples.
    """

    def __init__(
        self,
        options: AugmentOptions,
        offered: Augmentations,
        shape: Shape,
        *,
        seed: int,
        batch_size: int,
        device: torch.device,
    ):
        self.options, self.seed, self.batch_size = options, seed, batch_size
        self.chain: Chain | None = None
        if options.transforms:
            try:
                self.chain = offered.chain(options.transforms, shape)
            except ValueError as error:
                raise UserError(f"--augment {options.transforms}: {error}") from error
        names = {name.strip() for name in options.transforms.split(",")}
        self.schedule = options.schedule
        if self.schedule == "auto":
            self.schedule = "adaptive" if names & offered.adaptive else "fixed"
        self.adaptive = self.chain is not None and self.schedule == "adaptive"
        self.p = torch.full((), 0.0 if self.adaptive else options.p, device=device)
        self.sums = torch.zeros(2, device=device)  # pair accuracies since the last change, and of how many updates

    def __str__(self) -> str:
        """The transforms and how strong they are, in words; empty: there are none."""
        options = self.options
        if self.chain is None:
            return ""
        strength = {
            "fixed": f"p {options.p:g}",
            "adaptive": f"p up to {options.p:g}, by the pairs that D tells apart (target {options.target:g})",
        }.get(self.schedule, f"p rises to {options.p:g} over {options.samples:,} samples")
        return f"augmentation in front of D: {options.transforms}, {strength}"

    def strength(self, seen: int) -> Tensor:
        """The probability p of the update after so many samples, a scalar on the device."""
        if self.schedule in ("linear", "cosine"):
            return self.p.new_tensor(self.options.p * (1.0 - decay(self.schedule, seen, self.options.samples)))
        return self.p

    def numbers(self, seen: int, slots: range) -> Tensor | None:
        """What transforms slots of the update after so many samples.

        Returns:
            float32 [slots, 2, width], a slot's real's and fake's, for `chain`; None: there is no augmentation.
        """
        if self.chain is None:
            return None
        words = noise.words(self.seed, noise.DISCRIMINATOR, seen + slots.start, len(slots), 2 * self.chain.width)
        # Of 24 bits, which float32 holds without rounding: rounded up to 1 they would not be below p = 1.
        uniform = torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))
        uniform = uniform.unflatten(1, (2, self.chain.width)).to(self.p.device, non_blocking=True)
        return self.chain.switched(uniform, self.strength(seen))

    def follow(self, pair_accuracy: Tensor, skipped: Tensor, seen: int) -> None:
        """Let an adaptive p follow an update.

        Args:
            pair_accuracy: share of the pairs in which D preferred the real, a scalar of all workers.
            skipped: whether the update was skipped, 1 or 0: it counts for nothing.
            seen: samples seen before it.
        """
        if not self.adaptive:
            return
        found = torch.stack([pair_accuracy, torch.ones_like(pair_accuracy)])
        self.sums = torch.where(skipped > 0, self.sums, self.sums + found)
        if (seen // self.batch_size + 1) % EVERY == 0:
            step = EVERY * self.batch_size / self.options.samples
            error = self.sums[0] / self.sums[1].clamp_min(1) - self.options.target
            moved = (self.p + torch.sign(error) * step).clamp(0.0, self.options.p)
            self.p = torch.where(self.sums[1] > 0, moved, self.p)
            self.sums = torch.zeros_like(self.sums)

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that go from update to update; none where p is a function of samples seen."""
        return {"p": self.p, "sums": self.sums} if self.adaptive else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` returned."""
        if self.adaptive:
            self.p.copy_(state["p"])
            self.sums.copy_(state["sums"])
