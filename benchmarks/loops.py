"""Loops that train the same two networks: those that a user would write or take elsewhere, and ours.

Each is a function of a `Setup` that returns one update as a function of its number. They were written from
their descriptions: the DCGAN tutorial of PyTorch (Inkawhich 2018), the two-phase relativistic loop of R3GAN (Huang
et al. 2024), and the two-optimizer example of Lightning Fabric. What a loop does beside its arithmetic is what
its like do: the tutorial reads its statistics from the device each update, R3GAN averages its generator parameter
by parameter. None of them reads data or logs here.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from ragdist import modalities
from ragdist.config import Config, division
from ragdist.distributed.world import World
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.networks.conv import penalized
from ragdist.training.augmentation import Augmentation
from ragdist.training.batch import Batch
from ragdist.training.gradient_reduction import Reduction
from ragdist.training.optimizers import Optimizers
from ragdist.training.update import ALTERNATING, ONE_PASS, Update
from ragdist.training.worker_signals import SIGNALS

OneUpdate = Callable[[int], None]


def modality_of(config: Config) -> str:
    """The first modality that the networks suit."""
    return next(name for name in modalities.MODALITIES if config.network.family in modalities.training(name).families)


class Setup(NamedTuple):
    """Networks, data and optimizers that all loops share."""

    config: Config
    shape: tuple[int, ...]  # of a sample
    device: torch.device
    reduced: bool = False  # gradients are reduced as they would be on several workers; needs a process group

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """G and D with the same weights for every loop."""
        network = asdict(self.config.network)
        return (
            build_generator(network, self.shape, 0, seed=0).to(self.device),
            build_discriminator(network, self.shape, 0, seed=0).to(self.device),
        )

    def points(self, samples: Tensor, pool: int) -> Tensor:
        """The space of the relative term."""
        return modalities.training(modality_of(self.config)).points(samples, pool)

    def augmentation(self, names: str) -> Augmentation:
        """The random transforms of these names in front of D."""
        offered, config = modalities.training(modality_of(self.config)).augmentations, self.config
        options = replace(config.augment, transforms=names)
        return Augmentation(
            options, offered, self.shape, seed=config.seed, batch_size=config.batch_size, device=self.device
        )

    def latents(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.config.network.z_dim, device=self.device)

    def reals(self) -> Tensor:
        return torch.rand(self.config.batch_size, *self.shape, device=self.device) * 2 - 1

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def adam(self, network: nn.Module, rate: float) -> torch.optim.Adam:
        optim = self.config.optim
        return torch.optim.Adam(network.parameters(), lr=rate, betas=(optim.beta1, optim.beta2))

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, reduced as DistributedDataParallel does it by itself."""
        return DistributedDataParallel(network) if self.reduced else network


def tutorial(setup: Setup) -> OneUpdate:
    """Two phases and three backward passes, without penalties: D on reals, D on fakes, G through D."""
    generator, discriminator = setup.networks()
    g_optim = setup.adam(generator, setup.config.optim.g_lr)
    d_optim = setup.adam(discriminator, setup.config.optim.d_lr)
    generator, discriminator = setup.parallel(generator), setup.parallel(discriminator)
    return _tutorial(setup, generator, discriminator, g_optim, d_optim, lambda loss: loss.backward())


def fabric(setup: Setup) -> OneUpdate:
    """The tutorial's loop under Lightning Fabric, which wraps networks and optimizers and does the backward."""
    from lightning_fabric import Fabric

    kind = {"cpu": "cpu", "cuda": "cuda"}[setup.device.type]
    precision = "bf16-mixed" if setup.config.precision == "bf16" else "32-true"
    strategy = "ddp" if setup.reduced else "auto"
    engine = Fabric(accelerator=kind, devices=1, precision=precision, strategy=strategy)
    engine.launch()
    networks = setup.networks()
    rates = (setup.config.optim.g_lr, setup.config.optim.d_lr)
    (generator, g_optim), (discriminator, d_optim) = (
        engine.setup(network, setup.adam(network, rate)) for network, rate in zip(networks, rates, strict=True)
    )
    plain = setup._replace(config=replace(setup.config, precision="fp32"))  # Fabric casts by itself
    return _tutorial(plain, generator, discriminator, g_optim, d_optim, engine.backward)


def _tutorial(setup: Setup, generator, discriminator, g_optim, d_optim, backward: Callable[[Tensor], None]):
    one, zero = (torch.full((setup.config.batch_size,), value, device=setup.device) for value in (1.0, 0.0))

    def judge(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        with setup.autocast():
            logits = discriminator(x)
        return F.binary_cross_entropy_with_logits(logits, target), logits

    def update(number: int) -> None:
        discriminator.zero_grad()
        loss_real, logits = judge(setup.reals(), one)
        backward(loss_real)
        logits.mean().item()
        with setup.autocast():
            fake = generator(setup.latents())
        loss_fake, logits = judge(fake.detach(), zero)
        backward(loss_fake)
        logits.mean().item()
        d_optim.step()
        generator.zero_grad()
        loss, logits = judge(fake, one)
        backward(loss)
        logits.mean().item()
        g_optim.step()

    return update


def two_phase(setup: Setup, penalty_every: int, *, stock: bool = False) -> OneUpdate:
    """R3GAN's loop: a generator phase that needs reals too, then a discriminator phase with R1 and R2.

    The penalties get the fast second derivative of our networks' convolutions; ``stock``: PyTorch's own.
    """
    generator, discriminator = setup.networks()
    average = setup.networks()[0].requires_grad_(False)
    objective, optim = setup.config.objective, setup.config.optim
    g_optim, d_optim = setup.adam(generator, optim.g_lr), setup.adam(discriminator, optim.d_lr)

    def logits(x: Tensor, penalty: bool = False) -> Tensor:
        with setup.autocast(), penalized(discriminator) if penalty and not stock else nullcontext():
            return discriminator(x)

    def fakes() -> Tensor:
        with setup.autocast():
            return generator(setup.latents()).float()

    def update(number: int) -> None:
        discriminator.requires_grad_(False)
        g_optim.zero_grad()
        F.softplus(logits(setup.reals()) - logits(fakes())).mean().backward()
        _reduce(setup, generator)
        g_optim.step()
        discriminator.requires_grad_(True)
        generator.requires_grad_(False)
        d_optim.zero_grad()
        due = number % penalty_every == 0
        real, fake = setup.reals().requires_grad_(due), fakes().requires_grad_(due)
        of_real, of_fake = logits(real, due), logits(fake, due)
        loss = F.softplus(of_fake - of_real)
        if due:
            penalties = objective.r1 * _squared_slope(of_real, real) + objective.r2 * _squared_slope(of_fake, fake)
            loss = loss + penalty_every * penalties
        loss.mean().backward()
        _reduce(setup, discriminator)
        d_optim.step()
        generator.requires_grad_(True)
        for mean, parameter in zip(average.parameters(), generator.parameters(), strict=True):
            mean.lerp_(parameter.detach(), 0.001)

    return update


def _squared_slope(y: Tensor, x: Tensor) -> Tensor:
    """|grad_x y|^2 / 2 of each sample, differentiable."""
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1) / 2


def _reduce(setup: Setup, network: nn.Module) -> None:
    if setup.reduced:
        torch.distributed.all_reduce(torch.cat([p.grad.flatten() for p in network.parameters()]))


def ours(
    setup: Setup, *, one_pass: bool, penalties: bool = True, logical_workers: int = 0, augment: str = ""
) -> OneUpdate:
    """The update of `ragdist.training.trainer`, the relative term and the moving average included."""
    config = replace(setup.config, logical_workers=logical_workers or setup.config.logical_workers)
    objective = config.objective if penalties else replace(config.objective, r1=0.0, r2=0.0)
    (generator, discriminator), (average, _) = setup.networks(), setup.networks()
    augmentation = setup.augmentation(augment)
    update = Update(
        generator, discriminator, objective,
        batch_size=config.batch_size, precision=config.precision, points=setup.points, augment=augmentation.chain,
    ).to(setup.device)  # fmt: skip
    micro_batch = division.micro_batch(config, cpu=setup.device.type == "cpu")
    reduction = Reduction(
        update,
        World(0, 1, setup.device),
        division.logical_workers(config),
        micro_batch=micro_batch,
        one_pass=one_pass,
    )
    optimizers = Optimizers(generator, discriminator, average, config.optim, batch_size=config.batch_size)
    if setup.reduced:
        reduction.threads = None  # what is counted is counted in one thread
    signals = torch.zeros(len(SIGNALS), device=setup.device)
    nothing = signals.new_zeros(())

    def one(number: int) -> None:
        seen = number * config.batch_size
        numbers = augmentation.numbers(seen, range(config.batch_size))
        batch = Batch(setup.latents(), setup.reals(), None, augment=numbers)
        due = penalties and number % objective.penalty_every == 0
        for phase in ONE_PASS if one_pass else ALTERNATING:
            update.zero_grad(set_to_none=True)
            reduction.backward(batch, phase, objective.lam, due, signals)
            if setup.reduced:
                gradients = [p.grad.flatten() for p in update.parameters() if p.grad is not None]
                torch.distributed.all_reduce(torch.cat(gradients))
            optimizers.step(phase, update.report.grad, seen, nothing)
        optimizers.average(seen)

    return one


def loops(config: Config) -> dict[str, Callable[[Setup], OneUpdate]]:
    """Every loop by its title; the first, as the trainer does it, is the one that others are compared with."""
    every, usual = config.objective.penalty_every, division.logical_workers(config)
    others = sorted({division.logical_workers(replace(config, logical_workers=0)), 1} - {usual})
    return {
        "one pass, lazy penalties": lambda s: ours(s, one_pass=True),
        **{
            f"one pass, lazy penalties, logical workers: {count}": partial(ours, one_pass=True, logical_workers=count)
            for count in others
        },
        "one pass, lazy penalties, DiffAugment": lambda s: ours(s, one_pass=True, augment="diffaugment"),
        "one pass, no penalties": lambda s: ours(s, one_pass=True, penalties=False),
        "alternating, lazy penalties": lambda s: ours(s, one_pass=False),
        "alternating, no penalties": lambda s: ours(s, one_pass=False, penalties=False),
        "R3GAN-style, penalties every update": lambda s: two_phase(s, 1),
        "R3GAN-style, penalties every update, PyTorch's convolutions": lambda s: two_phase(s, 1, stock=True),
        "R3GAN-style, lazy penalties": lambda s: two_phase(s, every),
        "R3GAN-style, lazy penalties, PyTorch's convolutions": lambda s: two_phase(s, every, stock=True),
        "tutorial, no penalties": tutorial,
        "Lightning Fabric, no penalties": fabric,
    }
