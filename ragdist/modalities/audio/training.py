"""Clips in training: from payloads to int16 [channels, T], and to float32 from -1 to 1.

WAV of 16 bits is read as it lies there, anything else by libsndfile. Functions without a docstring are those of
`modalities.base.Training`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ragdist.modalities.audio import sound_file
from ragdist.modalities.base import Form
from ragdist.networks import stft

if TYPE_CHECKING:
    from ragdist.config.run import DataOptions

head = "tanh"
families = ("spectral", "wavegan", "mlp")

_FULL = 32768.0
_WAV = struct.Struct("<4sI4s4sIHHIIHH4sI")  # as this project, and most others, begin one: no chunk but fmt and data


def decode(data: Tensor, form: Form) -> Tensor:
    return torch.from_numpy(_decoded(memoryview(data.numpy()), form))


def decode_all(payloads: list[memoryview], form: Form) -> Tensor:
    clips = np.empty((len(payloads), *form.shape), np.int16)
    for payload, clip in zip(payloads, clips, strict=True):
        clip[:] = _decoded(payload, form)
    return torch.from_numpy(clips)


def _decoded(payload: memoryview, form: Form) -> np.ndarray:
    """int16 [*form.shape]: a longer clip is cut, a shorter one gets silence behind it, channels are mixed."""
    channels, count = form.shape
    samples = _plain_wav(payload, form)
    if samples is None:
        samples = _read(payload, form)
    samples = samples[:count]
    if samples.shape[1] != channels:
        mono = np.rint(samples.mean(1, keepdims=True, dtype=np.float64)).astype(np.int16)
        samples = np.repeat(mono, channels, 1)
    if len(samples) < count:
        samples = np.pad(samples, ((0, count - len(samples)), (0, 0)))
    return np.ascontiguousarray(samples.T)


def _plain_wav(payload: memoryview, form: Form) -> np.ndarray | None:
    """The samples [n, channels] of a WAV of 16 bits with nothing odd about it; None for anything else."""
    if len(payload) < _WAV.size or bytes(payload[:4]) != b"RIFF":
        return None
    found = _WAV.unpack_from(payload)
    riff, size, wave, chunk, length, kind, channels, rate, _, frame, bits, data, bytes_ = found
    odd = (riff, wave, chunk, length, kind, bits, data) != (b"RIFF", b"WAVE", b"fmt ", 16, 1, 16, b"data")
    if odd or size + 8 != len(payload) or rate != form.spec["rate"] or frame != 2 * channels or not channels:
        return None
    if not 0 < bytes_ <= len(payload) - _WAV.size or bytes_ % frame:
        return None
    return np.frombuffer(payload, "<i2", bytes_ // 2, _WAV.size).reshape(-1, channels)


def _read(payload: memoryview, form: Form) -> np.ndarray:
    """The samples [n, channels] of any sound file, n at least those of the form if there are so many."""
    with sound_file.opened(payload) as sound:
        if sound.rate != form.spec["rate"]:
            raise ValueError(f"its rate is {sound.rate:,} Hz, not {form.spec['rate']:,}")
        return sound.read_int16(min(sound.frames, form.shape[1]))


def blank(count: int, form: Form) -> Tensor:
    return torch.zeros(count, *form.shape, dtype=torch.int16)


def network_shape(form: Form) -> tuple[int, ...]:
    return form.shape


def to_network(samples: Tensor, form: Form) -> Tensor:
    return samples.float().div_(_FULL)


def from_network(samples: Tensor, form: Form) -> Tensor:
    return samples.detach().float().mul(_FULL).round().clamp(-_FULL, _FULL - 1).short()


def check_transforms(options: DataOptions, form: Form) -> str:
    if options.flip or options.crop_padding:
        return "--data.flip and --data.crop_padding are for images: leave them out"
    return ""


def draws(options: DataOptions) -> int:
    return 0


def transform(samples: Tensor, uniform: np.ndarray, options: Any) -> Tensor:
    return samples


def points(samples: Tensor, pool: int) -> Tensor:
    return stft.points(samples, pool)
