"""The interface of network families, and their common layers."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ragdist.networks.heads import tanh


class Stage(NamedTuple):
    """Modules of a network that work on samples of one size."""

    size: int  # values along an axis: pixels, steps, frames; 0: of no size, as fully connected layers
    modules: dict[str, str]  # what each is for -> its name in the network: {"change": "change.0", "blocks": "stages.1"}


BASE = "base"  # the module of G that takes the code, in a stage's `modules`


class Generator(nn.Module):
    """G: latents z [B, z_dim] float32, labels [B] int64 or None -> samples [B, *sample_shape], float32.

    ``head`` makes samples of what the last layer gives; it is the modality's.

    With ``codes`` the latent's first number chooses one of so many codes, all alike often: a latent with a discrete
    part (as ClusterGAN's, Mukherjee et al. 2019). A continuous G passes between kinds of samples; this one jumps.
    """

    def __init__(self, z_dim: int, num_classes: int = 0, codes: int = 0):
        super().__init__()
        self.z_dim = z_dim
        self.num_classes = num_classes
        self.head = tanh
        # A label is a second latent, of the same length and scale.
        self.embed = nn.Embedding(num_classes, z_dim) if num_classes else None
        self.codes = nn.Embedding(codes, z_dim) if codes else None
        if self.codes is not None:
            nn.init.normal_(self.codes.weight, std=2.0)  # apart from the beginning

    @property
    def code_dim(self) -> int:
        """The length of a code: the latent, behind it the label's embedding and that of the discrete code."""
        return self.z_dim * (1 + (self.embed is not None) + (self.codes is not None))

    def synthesize(self, code: Tensor) -> Tensor:
        """Codes [B, code_dim] -> samples before the head. A family implements this."""
        raise NotImplementedError

    def by_size(self) -> list[Stage]:
        """Stages in the order in which a code passes them, for weights that another network starts from; [] says none.

        Two networks of a family have the same function at an equal size and purpose, whatever the modules' names are.
        """
        return []

    def code(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The code of latents and labels: [B, code_dim]."""
        parts = [z]
        if self.embed is not None:
            assert labels is not None, "this generator was built with labels"
            parts.append(self.embed(labels))
        if self.codes is not None:
            share = (1 + torch.erf(z[:, 0].float() / math.sqrt(2))) / 2  # of all latents, that are below: uniform
            number = (share * self.codes.num_embeddings).long()
            parts.append(self.codes(number.clamp(max=self.codes.num_embeddings - 1)))
        return torch.cat(parts, 1)

    def render(self, code: Tensor) -> Tensor:
        """Codes [B, code_dim] -> samples, float32."""
        return self.head(self.synthesize(code).float())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.render(self.code(z, labels))


class Discriminator(nn.Module):
    """D: samples [B, *sample_shape], labels [B] or None -> one logit a sample [B].

    No layer mixes samples, so a logit depends on its own sample alone: the one-pass update relies on it.
    With labels it is a projection discriminator (Miyato & Koyama 2018).
    """

    mixes_samples = False  # True for a family with, say, batch normalization: only `alternating` trains it

    def __init__(self, feature_dim: int, num_classes: int = 0):
        super().__init__()
        self.head = nn.Linear(feature_dim, 1)
        self.embed = nn.Embedding(num_classes, feature_dim) if num_classes else None
        variance_preserving(self.head, gain=1.0)
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, std=feature_dim**-0.5)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, [B, feature_dim]. A family implements this."""
        raise NotImplementedError

    def by_size(self) -> list[Stage]:
        """Stages in the order in which a sample passes them, without what reads the last one; [] says none.

        The first ones can be frozen; see also `Generator.by_size`.
        """
        return []

    def logits(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits [B] of samples with these features."""
        features = features.to(self.head.weight.dtype)  # they are bfloat16 under autocast
        logits = self.head(features).squeeze(1)
        if self.embed is not None:
            assert labels is not None, "this discriminator was built with labels"
            logits = logits + (features * self.embed(labels)).sum(1)
        return logits

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.logits(self.features(x), labels)


def made_by_doubling(shortest: int, count: int) -> list[Stage]:
    """Stages of a G with `base`, `change`, `stages` and `out`: at ``shortest`` values an axis, twice as many, ..."""
    found = [Stage(shortest, {BASE: "base", "blocks": "stages.0"})]
    for number in range(1, count):
        found.append(Stage(shortest << number, {"change": f"change.{number - 1}", "blocks": f"stages.{number}"}))
    found[-1].modules["out"] = "out"
    return found


def read_by_halving(longest: int, count: int, *stems: str) -> list[Stage]:
    """Stages of a D with ``stems``, `stages` and `change`: at ``longest`` values an axis, half as many, ..."""
    found = [Stage(longest, {**{stem: stem for stem in stems}, "blocks": "stages.0"})]
    for number in range(1, count):
        found.append(Stage(longest >> number, {"change": f"change.{number - 1}", "blocks": f"stages.{number}"}))
    return found


SLOPE = 0.2  # of the leaky ReLUs


def leaky(x: Tensor) -> Tensor:
    """A leaky ReLU in place."""
    # In place its derivative is known from the result, which the next layer keeps. Else compiled code keeps a mask
    # beside it, and writing that takes longer on a CPU than all that compiling gains.
    return F.leaky_relu(x, SLOPE, inplace=torch.compiler.is_compiling())


def variance_preserving(layer: nn.Module, gain: float | None = None) -> nn.Module:
    """He et al. 2015's initialization: outputs have the variance of the inputs, behind a leaky ReLU.

    A transposed convolution of stride s adds up only 1/s of its kernel at a place, for each axis. Returns the layer.
    """
    gain = math.sqrt(2 / (1 + SLOPE**2)) if gain is None else gain
    weight = layer.weight
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        fan_in = weight.shape[0] * weight[0, 0].numel() / math.prod(layer.stride)
    else:
        fan_in = weight[0].numel()
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def stages(sample_shape: tuple[int, ...], family: str) -> tuple[int, int]:
    """(channels, number of doublings from 4x4) of square samples of a power of two from 8 to 256.

    Raises:
        ValueError: for another shape, with what to do.
    """
    if len(sample_shape) == 3:
        channels, height, width = sample_shape
        doublings = int(math.log2(max(height, 1))) - 2
        if channels in (1, 3) and height == width == 4 << max(doublings, 0) and 1 <= doublings <= 6:
            return channels, doublings
    raise ValueError(
        f"network.family '{family}' takes square samples of 8 to 256 pixels, a power of two, with 1 or 3 channels, "
        f"and the data's are {list(sample_shape)}: make the shards with --size, or use network.family 'mlp'"
    )


def lengths(sample_shape: tuple[int, ...], family: str, *, least: int) -> tuple[int, int]:
    """(channels, length) of samples [channels, length] whose length is a power of two.

    Raises:
        ValueError: for another shape, or a length below ``least``, with what to do.
    """
    if len(sample_shape) == 2:
        channels, length = sample_shape
        if length >= least and length & (length - 1) == 0:
            return channels, length
    raise ValueError(
        f"network.family '{family}' takes samples of [channels, length], a power of two from {least}, and the data's "
        f"are {list(sample_shape)}: use a family for such samples, or network.family 'mlp'"
    )
