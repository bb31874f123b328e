"""FLAC in memory by dr_flac, which takes half of libsndfile's time, where the package miniaudio is installed.

FLAC is lossless and has a checksum of each frame: what is read whole has the samples that libsndfile reads. It reads
some damaged files that libsndfile refuses; those do not get into an index (`foreign.notes`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

_BEGIN = b"fLaC\0\0\0\x22"  # the header of STREAMINFO, which is not the last
_RATE, _CHANNELS, _BITS = 44, 41, 36  # lowest bits of its fields in the number that eight of its bytes are
_DEPTHS = (8, 16)


def flac(payload: memoryview, rate: int, most: int) -> np.ndarray | None:
    """All frames of a FLAC of 8 or 16 bits, int16 [n, channels]; None where it has not 1 to ``most``, or is damaged."""
    total, channels = _form(payload, rate, most)
    samples = np.empty((total, channels), np.int16)
    return samples if total and _read(payload, total, samples) else None


def mono(payload: memoryview, rate: int, out: np.ndarray) -> int:
    """As `flac` where there is one channel, to the beginning of ``out``, int16 [most]; how many frames, 0 for none."""
    total, channels = _form(payload, rate, len(out))
    return total if channels == 1 and total and _read(payload, total, out) else 0


def _form(payload: memoryview, rate: int, most: int) -> tuple[int, int]:
    """Frames and channels; of what is not read 0 frames."""
    if bytes(payload[:8]) != _BEGIN or len(payload) < 42 or _library() is None:
        return 0, 0
    about = int.from_bytes(payload[18:26], "big")
    total, bits = about & (1 << 36) - 1, (about >> _BITS & 31) + 1
    fits = about >> _RATE == rate and bits in _DEPTHS and total <= most
    return total if fits else 0, (about >> _CHANNELS & 7) + 1


def _read(payload: memoryview, total: int, samples: np.ndarray) -> bool:
    ffi, library = _library()
    file = library.ma_dr_flac_open_memory(ffi.from_buffer(payload), len(payload), ffi.NULL)
    if file == ffi.NULL:
        return False
    found = library.ma_dr_flac_read_pcm_frames_s16(file, total, ffi.from_buffer("ma_int16[]", samples))
    library.ma_dr_flac_close(file)
    return found == total


@cache
def _library() -> tuple[Any, Any] | None:
    """miniaudio's C interface; None where it is not installed, or has these functions no more."""
    try:
        import miniaudio

        ffi, library = miniaudio.ffi, miniaudio.lib
        _ = library.ma_dr_flac_open_memory, library.ma_dr_flac_read_pcm_frames_s16, library.ma_dr_flac_close
    except (ImportError, AttributeError):
        return None
    return ffi, library
