"""Optimizers: Adam for both networks, the moving average of G, skipped updates.

Nothing here waits for the device: whether an update is skipped is decided, and counted, on it.
"""

import torch
from torch import Tensor, nn

from ragdist.config.run import OptimOptions
from ragdist.tools.optimizer import without_compile
from ragdist.training.schedule import decay, ema_decay, warmup

Adam = without_compile(torch.optim.Adam)


class Optimizers:
    """Adam for G and D and the EMA of G.

    Args:
        generator, discriminator: the networks; their gradients are read. What is frozen of D is left out.
        ema: a generator of the same kind, which is overwritten.
        options: rates and schedules.
        batch_size: the global batch.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        ema: nn.Module,
        options: OptimOptions,
        *,
        batch_size: int,
    ):
        self.options = options
        self.batch_size = batch_size
        betas = (options.beta1, options.beta2)
        # Fused: one kernel a network, and the only kind that can be told on the device to skip a step.
        self.g = Adam(generator.parameters(), lr=options.g_lr, betas=betas, fused=True)
        trained = [parameter for parameter in discriminator.parameters() if parameter.requires_grad]
        self.d = Adam(trained, lr=options.d_lr, betas=betas, fused=True)
        self._weights, self._average = list(generator.parameters()), list(ema.parameters())
        assert not list(generator.buffers()), "the moving average covers parameters alone"
        self.skipped = torch.zeros((), device=self._weights[0].device)
        self.skip = torch.zeros_like(self.skipped)  # 1: the last step was skipped

    def step(self, phase: str, report: Tensor, seen: int, problems: Tensor) -> Tensor:
        """Step the optimizers of a phase, unless a loss or gradient is not finite.

        Args:
            phase: "both", "d" or "g".
            report: the phase's statistics of all workers, any shape; NaN or Inf in them skips the step.
            seen: samples seen before this update.
            problems: workers that had nothing to compute, a scalar; above 0 it skips the step, uncounted.

        Returns:
            The gradients' norms of G and D, [2], on the device; 0 for a player that is not of the phase.
        """
        factor = decay(self.options.lr_schedule, seen, self.options.lr_samples)
        factor *= warmup(seen + self.batch_size, self.options.warmup_samples)
        norms = torch.stack([self._norm(self.g, phase in ("both", "g")), self._norm(self.d, phase in ("both", "d"))])
        bad = 1.0 - torch.isfinite(norms.sum() + report.sum()).float()
        skip = self.skip = torch.maximum(bad, (problems > 0).float())
        for optimizer, rate in ((self.g, self.options.g_lr), (self.d, self.options.d_lr)):
            if optimizer in self._players(phase):
                optimizer.param_groups[0]["lr"] = rate * factor
                optimizer.found_inf = skip  # what torch.amp.GradScaler sets for the same purpose
                optimizer.step()
        self.skipped += bad
        return norms

    def average(self, seen: int) -> None:
        """Update the EMA after an update; ``seen`` are the samples seen before it."""
        options = self.options
        keep = ema_decay(seen + self.batch_size, self.batch_size, options.ema_samples, options.ema_ramp)
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._weights, 1.0 - keep)

    def _players(self, phase: str) -> list[torch.optim.Optimizer]:
        return {"both": [self.g, self.d], "g": [self.g], "d": [self.d]}[phase]

    def _norm(self, optimizer: torch.optim.Optimizer, wanted: bool) -> Tensor:
        if not wanted:
            return self.skipped.new_zeros(())
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return nn.utils.get_total_norm(gradients)
