"""From payloads to int16 [channels, T]: WAV of 16 bits as it lies there, FLAC by what is fastest, others by libsndfile.

What a payload becomes is one rule: libsndfile's floating-point samples, rounded to 16 bits, what is beyond full scale
clipped (libsndfile's own conversion makes silence of floats, and turns what is beyond in Vorbis and Opus around). What
has 16 bits already is the same without the way round.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ragdist.modalities.audio import clip, dr_flac, in_memory, sound_file
from ragdist.modalities.base import Form

_CHUNKS = (b"fmt ", b"data", b"LIST", b"JUNK")  # of a WAV without anything that libsndfile may take offence at
_FMT = struct.Struct("<HHIIHH")  # kind, channels, rate, bytes a second, bytes a frame, bits
_PLAIN = 44  # bytes before the samples of a WAV without other chunks
_PCM, _EXTENSIBLE = 1, 0xFFFE
_PCM_GUID = struct.pack("<H", _PCM) + bytes.fromhex("000000001000800000aa00389b71")


def decode(payloads: Sequence[memoryview], form: Form) -> np.ndarray:
    """Decode payloads to int16 [n, *form.shape]: longer ones are cut, shorter ones end in silence, channels are mixed.

    Raises:
        ValueError: one is no sound, damaged, or of another rate.
    """
    clips = np.empty((len(payloads), *form.shape), np.int16)
    for payload, out in zip(payloads, clips, strict=True):
        there = dr_flac.mono(payload, form.spec["rate"], out[0]) if len(out) == 1 else 0
        if not there:
            samples = mixed(frames(payload, form), len(out))
            there = len(samples)
            out[:, :there] = samples.T
        out[:, there:] = 0
    return clips


def frames(payload: memoryview, form: Form) -> np.ndarray:
    """Decode a payload's first frames, at most T of them, with the channels that it has: int16 [n, channels]."""
    rate, (channels, most) = form.spec["rate"], form.shape
    samples = None
    if payload[:4] == b"RIFF":
        if payload[:_PLAIN] == _header(rate, channels, len(payload) - _PLAIN):
            return np.frombuffer(payload, "<i2", -1, _PLAIN).reshape(-1, channels)[:most]
        samples = _wav(payload, rate)
    elif payload[:4] == b"fLaC":
        samples = dr_flac.flac(payload, rate, most)
        samples = in_memory.flac(payload, rate, most) if samples is None else samples
    return (_any(payload, rate, most) if samples is None else samples)[:most]


@lru_cache(1024)
def _header(rate: int, channels: int, length: int) -> bytes:
    """The beginning of a WAV of 16 bits without a chunk but fmt and data, as most are; empty where there is none."""
    frame = 2 * channels
    if length <= 0 or length % frame:
        return b""
    about = _FMT.pack(_PCM, channels, rate, rate * frame, frame, 16)
    return b"RIFF%sWAVEfmt %s%sdata%s" % (_number(length + _PLAIN - 8), _number(len(about)), about, _number(length))


def _number(number: int) -> bytes:
    return number.to_bytes(4, "little")


def mixed(samples: np.ndarray, channels: int) -> np.ndarray:
    """Bring int16 [n, c] to so many channels: see `clip.mixed`."""
    if samples.shape[1] == channels:
        return samples
    mono = np.rint(samples.mean(1, keepdims=True, dtype=np.float64)).astype(np.int16)
    return np.repeat(mono, channels, 1)


def _wav(payload: memoryview, rate: int) -> np.ndarray | None:
    """The samples [n, channels] of a WAV of 16 bits with nothing odd about it; None for anything else."""
    place, found = 12, {}
    while place + 8 <= len(payload):
        name, length = bytes(payload[place : place + 4]), int.from_bytes(payload[place + 4 : place + 8], "little")
        if name not in _CHUNKS or name in found or (name == b"data" and b"fmt " not in found):
            return None
        found[name] = place + 8, length
        place += 8 + length + length % 2
    if bytes(payload[8:12]) != b"WAVE" or place != len(payload) or b"data" not in found:
        return None
    channels = _channels(payload, *found[b"fmt "], rate)
    start, length = found[b"data"]
    if not channels or not length or length % (2 * channels):
        return None
    return np.frombuffer(payload, "<i2", length // 2, start).reshape(-1, channels)


def _channels(payload: memoryview, start: int, length: int, rate: int) -> int:
    """The channels that a WAV's format says; 0 where it says anything but 16 bits, plain, at this rate."""
    if length not in (16, 18, 40):
        return 0
    kind, channels, its_rate, _, frame, bits = _FMT.unpack_from(payload, start)
    if kind == _EXTENSIBLE and length == 40 and payload[start + 24 : start + 40] == _PCM_GUID:
        kind = _PCM
    odd = kind != _PCM or bits != 16 or its_rate != rate or frame != 2 * channels
    return 0 if odd or channels > sound_file.MOST_CHANNELS else channels


def _any(payload: memoryview, rate: int, most: int) -> np.ndarray:
    with sound_file.opened(payload) as sound:
        if sound.rate != rate:
            raise ValueError(f"its rate is {sound.rate:,} Hz, not {rate:,}")
        return clip.to_int16(sound.read(0, min(sound.frames, most)))
