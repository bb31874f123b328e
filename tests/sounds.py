"""Sounds for tests, as files of every format."""

import io

import numpy as np
import soundfile

RATE = 4000
FORMATS = {  # extension of a member -> format and subtype of soundfile's
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
RATES = {"mp3": 8000, "opus": 8000}  # the least of formats that have not any


def tone(seed: int = 0, frames: int = 1024, channels: int = 1, peak: float = 0.5) -> np.ndarray:
    """A tone with some noise, another for each seed: float32 [frames, channels]."""
    rng = np.random.default_rng(seed)
    pitch, phase = rng.uniform(0.05, 0.4), rng.uniform(0, 6, channels)
    sound = np.sin(np.arange(frames)[:, None] * pitch + phase) + rng.normal(size=(frames, channels)) * 0.05
    return (sound * (peak / np.abs(sound).max())).astype(np.float32)


def encoded(sound: np.ndarray, kind: str = "WAV", subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    """A sound file of float or int16 [frames, channels]."""
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format=kind, subtype=subtype)
    return out.getvalue()


def member(extension: str, seed: int = 0, frames: int = 1024, channels: int = 1) -> bytes:
    """A tone as a file of this extension, at the rate of `RATES`."""
    return encoded(tone(seed, frames, channels), *FORMATS[extension], RATES.get(extension, RATE))


def without_count(mp3: bytes) -> bytes:
    """An MP3 without its first frame, which counts the others."""
    return mp3[mp3.index(mp3[:2], 4) :]
