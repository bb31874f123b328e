"""What the cases of recordings are made of: tones in files of any kind."""

import io
import struct

import numpy as np
import soundfile

RATE, FRAMES = 4000, 1024  # of the clips that cases make


def tone(frames: int = FRAMES, rate: int = RATE, level: float = 0.5, channels: int = 1) -> np.ndarray:
    """A tone of 250 Hz, float32 [frames, channels], as loud as ``level`` of full scale."""
    wave = level * np.sin(2 * np.pi * 250 / rate * np.arange(frames))
    return np.repeat(wave[:, None].astype(np.float32), channels, 1)


def sound(kind: str = "WAV", subtype: str = "PCM_16", samples: np.ndarray | None = None, rate: int = RATE) -> bytes:
    """A sound file; a tone unless it is given samples."""
    out = io.BytesIO()
    samples = tone(rate=rate, frames=FRAMES * rate // RATE) if samples is None else samples
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def sized(data: bytes, size: int) -> bytes:
    """A WAV of 16 bits whose header says so many bytes of sound."""
    return data[:40] + struct.pack("<I", size) + data[44:]
