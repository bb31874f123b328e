"""Building of networks: a family's classes, with the options that they take, initialized from the run's seed."""

import inspect

import torch

from ragdist.networks import FAMILIES, HEADS
from ragdist.networks.base import Discriminator, Generator
from ragdist.networks.heads import DISTRIBUTIONS

# What of network.* a network may take; each takes those that its __init__ names.
_SHARED = ("z_dim", "max_width", "blocks", "depth", "expand", "group_width", "window", "head", "codes")


def _build(kind: type, sample_shape, options: dict, width: int, num_classes: int):
    wanted = inspect.signature(kind.__init__).parameters
    picked = {name: options[name] for name in _SHARED if name in wanted and name in options}
    return kind(tuple(sample_shape), width=width, num_classes=num_classes, **picked)


def _with_head(options: dict, head: str) -> dict:
    """The options with the output head's name: theirs, or else the modality's."""
    name, whose = (options["head"], "network.head") if options.get("head") else (head, "the modality")
    HEADS.check(name, whose)
    if head in DISTRIBUTIONS and name in HEADS.own and name not in DISTRIBUTIONS:
        raise ValueError(
            f"--network.head {name}: these data are distributions; give {' or '.join(sorted(DISTRIBUTIONS))}"
        )
    return options | {"head": name}


def build_generator(options: dict, sample_shape, num_classes: int, *, seed: int = 0, head: str = "tanh") -> Generator:
    """Build G, initialized from the seed, on the CPU.

    Args:
        options: family and sizes, `config.run.NetworkOptions` as a dict.
        sample_shape: as networks see samples.
        num_classes: that it is conditioned on; 0: none.
        seed: the run's seed.
        head: of the modality, a name in `HEADS`; where the options name none.

    Raises:
        ValueError: the family cannot make samples of this shape; with what to do.
    """
    options = _with_head(options, head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2 * seed)
        kind = FAMILIES[options["family"]][0]
        if options.get("codes") and "codes" not in inspect.signature(kind.__init__).parameters:
            raise ValueError(f"network.family '{options['family']}' takes no network.codes: leave it out")
        network = _build(kind, sample_shape, options, options["g_width"], num_classes)
    network.head = HEADS[options["head"]]
    return network.to(memory_format=torch.channels_last)


def build_discriminator(
    options: dict, sample_shape, num_classes: int, *, seed: int = 0, head: str = "tanh"
) -> Discriminator:
    """Build D of the family and sizes in ``options``, initialized from the seed, on the CPU; see `build_generator`."""
    options = _with_head(options, head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2 * seed + 1)
        kind = FAMILIES[options["family"]][1]
        network = _build(kind, sample_shape, options, options["d_width"], num_classes)
    return network.to(memory_format=torch.channels_last)
