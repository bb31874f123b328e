"""Spoken digits that this machine makes itself: ten words by eSpeak NG, in many voices, pitches and speeds.

For a first run with nothing at hand. The library comes in the wheel espeakng-loader (GPL 3), a part of the extra
``audio``; its voices are those of a formant synthesizer, and sound so.
"""

from __future__ import annotations

import importlib.metadata
import selectors
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from ragdist.config.shards import ShardOptions
from ragdist.data.sources import espeak
from ragdist.data.sources.source import Source
from ragdist.tools.errors import UserError
from ragdist.tools.progress import Progress

_PARTS = 4  # processes that speak: fixed, for what they say depends on who says what


class SpeechReader:
    """Reads an utterance, (part, number in it), as a recording."""

    def __init__(self, paths: list[Path]):
        self.paths, self._parts = paths, {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.paths,)

    def __call__(self, place: tuple[int, int]):
        from ragdist.modalities.audio.recording import Recording

        part, number = place
        if part not in self._parts:
            with np.load(self.paths[part]) as file:
                self._parts[part] = file["samples"], file["ends"], int(file["rate"])
        samples, ends, rate = self._parts[part]
        start = ends[number - 1] if number else 0
        return Recording(samples[start : ends[number], None], rate)


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The source of all utterances, with the digits as labels."""
    try:
        version = importlib.metadata.version("espeakng-loader")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"{name} needs eSpeak NG: pip install 'ragdist[audio]'") from error
    said = espeak.utterances()
    paths = [scratch / f"speech-{version}-{part}-of-{_PARTS}.npz" for part in range(_PARTS)]
    if not all(path.exists() for path in paths):
        _speak(paths, len(said))
    places = [(k % _PARTS, k // _PARTS) for k in range(len(said))]
    labels = [what.word for what in said]
    return Source(
        list(map(str, said)), places, SpeechReader(paths), "audio", f"eSpeak NG {version}", labels, espeak.WORDS
    )


def _speak(paths: list[Path], count: int) -> None:
    """Have all utterances said, with a line of progress."""
    with ExitStack() as started:
        progress = started.enter_context(closing(Progress(count, unit="utterances", first=False)))
        selector = started.enter_context(selectors.DefaultSelector())
        for part, path in enumerate(paths):
            argv = [sys.executable, "-m", espeak.__name__, str(part), str(len(paths)), f"{path}.part"]
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
            started.enter_context(process)
            started.callback(process.kill)
            selector.register(process.stdout, selectors.EVENT_READ, (process, path))
        while selector.get_map():
            for key, _ in selector.select():
                if said := key.fileobj.read(256):
                    progress.advance(len(said))
                    progress.describe()
                    continue
                process, path = key.data
                selector.unregister(key.fileobj)
                if process.wait():
                    reason = process.stderr.read().decode(errors="replace").strip().splitlines()
                    raise UserError(f"speech: {reason[-1] if reason else 'eSpeak NG died'}")
                Path(f"{path}.part").rename(path)
