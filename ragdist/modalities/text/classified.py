"""What the data's classifier sees of texts: embedded tokens as a picture of many channels, a pixel a token."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from ragdist.modalities.base import Form
from ragdist.tools import noise

_CHANNELS = 32
_ROW = 64  # tokens
_SEED = 2  # of the embedding: others' are the relative term's and the features'
_SHIFT = 1 / 8  # of a picture, by which training moves texts at most
_NOTHING = 128  # level of what is no token
SEES = f"tokens embedded in {_CHANNELS} numbers, {_ROW} a row"


def classified(samples: Tensor, form: Form) -> Tensor:
    """Map token numbers [n, T] to uint8 [n, C, rows, 64]: a token's embedding a pixel; short texts are one row."""
    count, length = samples.shape
    width = min(length, _ROW)
    rows = -(-length // width)
    pixels = _embedding(tuple(form.spec["tokens"]))[samples.long().cpu()].to(samples.device)
    pixels = torch.nn.functional.pad(pixels, (0, 0, 0, rows * width - length), value=_NOTHING)
    return pixels.view(count, rows, width, _CHANNELS).permute(0, 3, 1, 2).contiguous()


def vary(pictures: Tensor, uniform: np.ndarray) -> Tensor:
    """Move texts by some tokens, with nothing behind them."""
    count, channels, rows, width = pictures.shape
    length = rows * width
    most = int(min(length, _ROW) * _SHIFT)
    draws = torch.from_numpy(uniform[:, :1]).float()
    moved = torch.arange(length) - (draws * (2 * most + 1)).long() + most
    there = ((moved >= 0) & (moved < length))[:, None]
    places = moved.clamp(0, length - 1)[:, None].expand(count, channels, length)
    return pictures.flatten(2).gather(2, places).where(there, _NOTHING).view_as(pictures)


@cache
def _embedding(tokens: tuple[str, ...]) -> Tensor:
    """Random levels of each token, uint8 [V, channels]; of padding nothing."""
    levels = torch.from_numpy(
        (noise.uniform(_SEED, noise.PROJECTION, 0, len(tokens), _CHANNELS) * 256).astype(np.uint8)
    )
    for number, token in enumerate(tokens):
        if not token:
            levels[number] = _NOTHING
    return levels
