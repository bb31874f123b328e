"""Spoken digits that this machine makes itself: ten words by eSpeak NG, in many voices, pitches and speeds.

For a first run with nothing at hand. The library comes in the wheel espeakng-loader (GPL 3), a part of the extra
``audio``; its voices are those of a formant synthesizer, and sound so.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.parallel import Workers
from ragdist.data.sources import espeak
from ragdist.data.sources.source import Source
from ragdist.modalities.audio.recording import Recording
from ragdist.tools.errors import UserError
from ragdist.tools.machine import cpu_count
from ragdist.tools.progress import Progress

PARTS = 4  # of the utterances, whoever says them: what is said of one depends on those before it


class SpeechReader:
    """Reads an utterance, (part, number in it), as a recording."""

    def __init__(self, folders: list[Path]):
        self.folders, self._parts = folders, {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folders,)

    def __call__(self, place: tuple[int, int]) -> Recording:
        part, number = place
        if part not in self._parts:
            rate, *ends = np.load(self.folders[part] / "rate_and_ends.npy").tolist()
            self._parts[part] = np.memmap(self.folders[part] / "samples", np.int16, "r"), [0, *ends], rate
        samples, ends, rate = self._parts[part]
        return Recording(samples[ends[number] : ends[number + 1], None], rate)


@dataclass(frozen=True)
class Say:
    """Says the parts of all utterances, by their numbers, each into a folder of its own."""

    folders: list[Path]

    def __call__(self, part: int, advance: Callable[[int], None]) -> None:
        folder = self.folders[part]
        unfinished = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        rate, said = espeak.say(espeak.utterances()[part::PARTS], unfinished)
        clips = []
        for samples in said:
            clips.append(samples)
            advance(1)
        (unfinished / "samples").write_bytes(np.concatenate(clips).tobytes())
        np.save(unfinished / "rate_and_ends.npy", [rate, *np.cumsum([len(samples) for samples in clips])])
        unfinished.rename(folder)


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The source of all utterances, with the digits as labels."""
    try:
        version = importlib.metadata.version("espeakng-loader")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"{name} needs eSpeak NG: pip install 'ragdist[audio]', or pip install -e '.[audio]' in its repository"
        ) from error
    said = espeak.utterances()
    folders = [scratch / f"speech-{version}-{part}-of-{PARTS}" for part in range(PARTS)]
    if left := [part for part, folder in enumerate(folders) if not folder.exists()]:
        _speak(folders, left, len(said), min(options.processes or cpu_count(), len(left)))
    places = [(number % PARTS, number // PARTS) for number in range(len(said))]
    labels = [what.word for what in said]
    names = list(map(str, said))
    return Source(names, places, SpeechReader(folders), "audio", f"eSpeak NG {version}", labels, espeak.WORDS)


def _speak(folders: list[Path], left: list[int], count: int, processes: int) -> None:
    """Have the parts that are left said, with a line of progress."""
    progress = Progress(count, done=count * (PARTS - len(left)) // PARTS, unit="utterances", first=False)

    def advance(said: int) -> None:
        if said:
            progress.advance(said)
            progress.describe()

    with closing(progress), Workers(Say(folders), processes, advance, torch=False) as workers:
        for _ in workers.run((part, part) for part in left):
            pass
