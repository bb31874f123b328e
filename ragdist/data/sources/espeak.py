"""Words said by eSpeak NG, each in many ways.

eSpeak goes on where its last utterance ended: what it says depends on all that it has said since its library was
loaded. So utterances are said in parts, each by a library of its own: bit for bit the same, whoever says which when.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ragdist.tools.errors import UserError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland")
VOICES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f4")  # none with breath: its noise is never the same
PITCHES, SPEEDS = (30, 45, 60, 75), (130, 160, 195)  # 0 to 99; words a minute

# Of speak_lib.h: output by a callback, errors as return values, texts in UTF-8, and the numbers of two parameters.
_SYNCHRONOUS, _DONT_EXIT, _UTF8, _SPEED, _PITCH = 2, 0x8000, 1, 1, 3
_Take = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_LONGEST = 150  # bytes of the path of eSpeak's data; more are cut off there


class Utterance(NamedTuple):
    """A word, and how it is said: numbers of what is listed above."""

    word: int
    accent: int
    voice: int
    pitch: int
    speed: int

    def __str__(self) -> str:
        accent, voice, pitch, speed = ACCENTS[self.accent], VOICES[self.voice], PITCHES[self.pitch], SPEEDS[self.speed]
        return f"{WORDS[self.word]} ({accent}, {voice}, pitch {pitch}, {speed} words a minute)"


def utterances() -> list[Utterance]:
    """Every word in every way: 3,600."""
    sizes = (len(WORDS), len(ACCENTS), len(VOICES), len(PITCHES), len(SPEEDS))
    return [Utterance(*numbers) for numbers in itertools.product(*map(range, sizes))]


def say(what: Sequence[Utterance], scratch: Path) -> tuple[int, Iterator[np.ndarray]]:
    """Say utterances one after the other.

    Args:
        what: they.
        scratch: a folder; a copy of the library lies there for a moment, as each file of it is loaded but once.

    Returns:
        The rate in Hz, and each utterance's samples, int16.

    Raises:
        UserError: eSpeak NG cannot be loaded, or does not start.
    """
    import espeakng_loader

    number, name = tempfile.mkstemp(".so", dir=scratch)  # no name that was loaded from before
    os.close(number)
    copy = Path(name)
    try:
        shutil.copyfile(espeakng_loader.get_library_path(), copy)
        library, data = ctypes.CDLL(str(copy)), espeakng_loader.get_data_path()
    except (OSError, RuntimeError) as error:
        raise UserError(f"eSpeak NG cannot be loaded on this machine ({error}): give recordings of your own") from error
    finally:
        copy.unlink(missing_ok=True)
    if len(data.encode()) > _LONGEST:
        raise UserError(
            f"eSpeak NG cuts off paths of more than {_LONGEST} characters: install it elsewhere, not in {data}"
        )
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT)
    if rate <= 0:
        raise UserError(f"eSpeak NG does not start with its data in {data}: install espeakng-loader anew")
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p,
        ctypes.c_void_p,
    ]  # fmt: skip
    return rate, (_samples(library, one) for one in what)


def _samples(library: ctypes.CDLL, what: Utterance) -> np.ndarray:
    heard: list[np.ndarray] = []

    def take(samples, count: int, events) -> int:
        if samples and count:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback, text = _Take(take), WORDS[what.word].encode()
    library.espeak_SetVoiceByName(f"{ACCENTS[what.accent]}+{VOICES[what.voice]}".encode())
    library.espeak_SetParameter(_PITCH, PITCHES[what.pitch], 0)
    library.espeak_SetParameter(_SPEED, SPEEDS[what.speed], 0)
    library.espeak_SetSynthCallback(callback)
    library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if not heard:
        raise UserError(f"eSpeak NG said nothing of {what}: install espeakng-loader anew")
    return np.concatenate(heard)
