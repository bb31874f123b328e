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
    if (library := _library()) is None or bytes(payload[:8]) != _BEGIN or len(payload) < 42:
        return None
    about = int.from_bytes(payload[18:26], "big")
    total, bits = about & (1 << 36) - 1, (about >> _BITS & 31) + 1
    channels = (about >> _CHANNELS & 7) + 1
    if about >> _RATE != rate or bits not in _DEPTHS or not 0 < total <= most:
        return None
    return _read(*library, payload, total, channels)


def _read(ffi: Any, library: Any, payload: memoryview, total: int, channels: int) -> np.ndarray | None:
    file = library.ma_dr_flac_open_memory(ffi.from_buffer(payload), len(payload), ffi.NULL)
    if file == ffi.NULL:
        return None
    samples = np.empty((total, channels), np.int16)
    found = library.ma_dr_flac_read_pcm_frames_s16(file, total, ffi.from_buffer("ma_int16[]", samples))
    library.ma_dr_flac_close(file)
    return samples if found == total else None


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
