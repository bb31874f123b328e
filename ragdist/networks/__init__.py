"""Network families, one a file, and the table of their names.

A family is a pair (generator, discriminator) of `base.Generator` and `base.Discriminator`. To add one,
write its file and its row.
"""

import inspect

import torch

from ragdist.networks.base import Discriminator, Generator
from ragdist.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ragdist.networks.mlp import MLPDiscriminator, MLPGenerator
from ragdist.networks.resnet import ResNetDiscriminator, ResNetGenerator

FAMILIES: dict[str, tuple[type[Generator], type[Discriminator]]] = {
    "mlp": (MLPGenerator, MLPDiscriminator),
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "resnet": (ResNetGenerator, ResNetDiscriminator),
}

# What of network.* a network may take; each takes those that its __init__ names.
_SHARED = ("z_dim", "max_width", "blocks", "depth", "expand", "group_width")


def _build(kind: type, sample_shape, options: dict, width: int, num_classes: int):
    wanted = inspect.signature(kind.__init__).parameters
    picked = {name: options[name] for name in _SHARED if name in wanted}
    return kind(tuple(sample_shape), width=width, num_classes=num_classes, **picked)


def build_generator(options: dict, sample_shape, num_classes: int, *, seed: int = 0) -> Generator:
    """G of the family and sizes in ``options`` (`config.Network` as a dict), initialized from the seed, on the CPU.

    Raises:
        ValueError: where the family cannot make samples of this shape, with what to do.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2 * seed)
        kind = FAMILIES[options["family"]][0]
        network = _build(kind, sample_shape, options, options["g_width"], num_classes)
    return network.to(memory_format=torch.channels_last)


def build_discriminator(options: dict, sample_shape, num_classes: int, *, seed: int = 0) -> Discriminator:
    """D of the family and sizes in ``options``, initialized from the seed, on the CPU; see `build_generator`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2 * seed + 1)
        kind = FAMILIES[options["family"]][1]
        network = _build(kind, sample_shape, options, options["d_width"], num_classes)
    return network.to(memory_format=torch.channels_last)
