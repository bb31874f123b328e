"""FLAC in memory by libsndfile's C interface, with one set of callbacks for all files of a thread.

soundfile makes five callbacks for each file that it opens from memory, and after each reading asks libsndfile to seek
to where it stands, for which FLAC decodes a frame anew: of a clip of a second that is a third of the time.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ragdist.modalities.audio import sound_file

_READ, _FORMAT, _SUBTYPE = 0x10, 0x0FFF0000, 0x0000FFFF  # SFM_READ, SF_FORMAT_TYPEMASK, SF_FORMAT_SUBMASK
_FLAC, _UP_TO_16_BITS = 0x170000, (1, 2)  # SF_FORMAT_FLAC, PCM_S8 and PCM_16

_of_thread = threading.local()


def flac(payload: memoryview, rate: int, most: int) -> np.ndarray | None:
    """The first frames of a FLAC of up to 16 bits, int16 [up to ``most``, channels].

    None where it is of another rate or more bits, is damaged, ends too early, or is none: what `sound_file` says of it.
    """
    try:
        memory = _of_thread.memory
    except AttributeError:
        memory = _of_thread.memory = _Memory.make()
    return memory.read(payload, rate, most) if memory else None


class _Memory:
    """A read-only file of libsndfile's in memory, of which the content changes: ``data`` and the place in it."""

    def __init__(self, ffi: Any, library: Any):
        self.ffi, self.library = ffi, library
        self.data, self.place = memoryview(b""), 0
        calls = {name: ffi.callback(f"sf_vio_{name}", call) for name, call in self._calls().items()}
        self.callbacks = calls  # as long as they are called
        self.file, self.info = ffi.new("SF_VIRTUAL_IO*", calls), ffi.new("SF_INFO*")

    @classmethod
    def make(cls) -> _Memory | None:
        """None where soundfile has its C interface no more where it was in each version since 0.9."""
        soundfile = sound_file.library()
        ffi, library = getattr(soundfile, "_ffi", None), getattr(soundfile, "_snd", None)
        return cls(ffi, library) if ffi and library else None

    def _calls(self) -> dict[str, Any]:
        def seek(offset: int, whence: int, _: Any) -> int:
            self.place = offset + (0, self.place, len(self.data))[whence]
            return self.place

        def read(target: Any, count: int, _: Any) -> int:
            found = self.data[self.place : self.place + count]
            self.ffi.memmove(target, found, len(found))
            self.place += len(found)
            return len(found)

        return {
            "get_filelen": lambda _: len(self.data),
            "seek": seek,
            "read": read,
            "write": lambda source, count, _: 0,
            "tell": lambda _: self.place,
        }

    def read(self, payload: memoryview, rate: int, most: int) -> np.ndarray | None:
        self.data, self.place, self.info.format = payload, 0, 0
        try:
            file = self.library.sf_open_virtual(self.file, _READ, self.info, self.ffi.NULL)
            if file == self.ffi.NULL:
                return None
            try:
                return self._samples(file, rate, most)
            finally:
                self.library.sf_close(file)
        finally:
            self.data = memoryview(b"")  # the payload may be of a map that is to be closed

    def _samples(self, file: Any, rate: int, most: int) -> np.ndarray | None:
        info, count = self.info, min(self.info.frames, most)
        kind, subtype = info.format & _FORMAT, info.format & _SUBTYPE
        if kind != _FLAC or subtype not in _UP_TO_16_BITS or info.samplerate != rate:
            return None
        if not 0 < info.frames < sound_file.UNKNOWN:
            return None
        samples = np.empty((count, info.channels), np.int16)
        found = self.library.sf_readf_short(file, self.ffi.from_buffer("short[]", samples), count)
        return samples if found == count and not self.library.sf_error(file) else None
