"""Words said by eSpeak NG: ``python -m ragdist.data.sources.espeak PART OF FILE``, a process for each part of all utterances.

eSpeak goes on where its last utterance ended, so that what it says depends on all that it has said: a part is bit for bit
the same when a new process says all of it in one order, and not otherwise.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from typing import NamedTuple

import numpy as np

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland")
VOICES = (
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "f1",
    "f4",
)  # eSpeak's variants without breath, whose noise is another each time
PITCHES, SPEEDS = (30, 45, 60, 75), (130, 160, 195)  # 0 to 99; words a minute

_SYNCHRONOUS, _UTF8 = 2, 1  # AUDIO_OUTPUT_SYNCHRONOUS and espeakCHARS_UTF8 of speak_lib.h
_RATE, _PITCH = 1, 3  # of espeak_PARAMETER
_TAKE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


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
    """All of them."""
    sizes = (len(WORDS), len(ACCENTS), len(VOICES), len(PITCHES), len(SPEEDS))
    return [Utterance(*numbers) for numbers in itertools.product(*map(range, sizes))]


class Speaker:
    """An eSpeak of this process."""

    def __init__(self):
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        if self.rate <= 0:
            sys.exit("eSpeak NG cannot start: reinstall espeakng-loader")

    def say(self, what: Utterance) -> np.ndarray:
        """The samples of an utterance, int16."""
        heard: list[np.ndarray] = []

        def take(samples, count, events) -> int:
            if samples and count:
                heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        library, callback, text = self.library, _TAKE(take), WORDS[what.word].encode()
        library.espeak_SetVoiceByName(f"{ACCENTS[what.accent]}+{VOICES[what.voice]}".encode())
        library.espeak_SetParameter(_PITCH, PITCHES[what.pitch], 0)
        library.espeak_SetParameter(_RATE, SPEEDS[what.speed], 0)
        library.espeak_SetSynthCallback(callback)
        library.espeak_Synth(text, len(text) + 1, 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        return np.concatenate(heard)


def main(part: int, of: int, path: str) -> None:
    """Say every ``of``-th utterance from number ``part`` on into a .npz; a character of output for each."""
    speaker = Speaker()
    clips = []
    for what in utterances()[part::of]:
        clips.append(speaker.say(what))
        print(".", end="", flush=True)
    ends = np.cumsum([len(clip) for clip in clips])
    with open(path, "wb") as file:
        np.savez(file, samples=np.concatenate(clips), ends=ends, rate=speaker.rate)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
