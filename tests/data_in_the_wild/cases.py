"""A case of the table: an input, the command that reads it, and what must come of it."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ragdist import shards
from ragdist.data import index as index_file
from ragdist.data.reader import BadSample, ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.tools.errors import UserError


@dataclass(frozen=True)
class Case:
    """An input and what must come of it.

    Args:
        name: of the case, as pytest shows it.
        make: writes the input into an empty folder; returns SOURCE, or for shards their paths or globs.
        taken: the count of samples by class, None for samples without; leave it out where all is refused.
        refused: what the line of the refusal must contain, a regular expression.
        colours: the mean colour of each sample, (grey,) or (red, green, blue), in any order; empty: unchecked.
        within: how far a colour may be off.
        peaks: the peak of each clip in percent of full scale, rounded, in any order; empty: unchecked.
        shape: of the samples; empty: unchecked.
        says: what the output must contain, regular expressions.
        never: what neither output nor refusal may contain, regular expressions.
        options: of the command.
        index: the input is shards, which are indexed where they are, and not a source of which shards are made.
    """

    name: str
    make: Callable[[Path], str | Path | Sequence[str | Path]]
    taken: Mapping[str | None, int] | None = None
    refused: str = ""
    colours: Sequence[tuple[int, ...]] = ()
    within: int = 0
    peaks: Sequence[int] = ()
    shape: tuple[int, ...] = ()
    says: Sequence[str] = ()
    never: Sequence[str] = ()
    options: Sequence[str] = ()
    index: bool = False

    def __str__(self) -> str:
        return self.name


# Nobody is helped by these: addresses of objects, places where a library was built, what only a programmer reads.
NEVER = ("object at 0x", r"\.cpp", "Traceback", "Errno", "/tmp/tmp")


def check(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a case and check what comes of it."""
    source, out = folder / "in", folder / "out"
    source.mkdir()
    made = case.make(source)
    paths = [str(made)] if isinstance(made, (str, Path)) else [str(path) for path in made]
    words = ["index", *paths, "--out", str(out)] if case.index else [*paths, str(out)]
    line = ""
    try:
        shards.main([*words, "--processes", "1", *case.options])
    except UserError as error:
        line = str(error)
    output = "".join(capsys.readouterr())
    for pattern in (*NEVER, *case.never):
        assert not re.search(pattern, line + output), (pattern, line, output)
    if case.refused:
        assert case.taken is None, "a case is taken or refused"
        assert re.search(case.refused, line), (line, output)
        assert "\n" not in line
        assert len(line) < 600
        assert not (out / index_file.INDEX).exists(), "refused, and yet there is something to train on"
        return
    assert not line, line
    for pattern in case.says:
        assert re.search(pattern, output), (pattern, output)
    _compare(case, out)
    assert shards.check([str(out)]) == 0, capsys.readouterr()


def _compare(case: Case, out: Path) -> None:
    index = index_file.load(out)
    reader, classes, colours, peaks = ShardReader(ShardFiles(out, index)), Counter(), [], []
    for shard, about in enumerate(index.shards):
        for sample in range(about.samples):
            found = reader.read(shard, sample)
            assert not isinstance(found, BadSample), found
            pixels, label = found
            classes[index.classes[label] if index.classes else None] += 1
            if index.codec == "audio":
                peaks.append(round(pixels.double().abs().max().item() / 327.68))
            elif case.colours:
                colours.append(tuple(pixels.double().mean((1, 2)).tolist()))
    assert classes == Counter(case.taken)
    assert case.shape in ((), index.shape)
    assert not case.peaks or sorted(peaks) == sorted(case.peaks)
    if case.colours:
        difference = np.abs(np.array(sorted(colours)) - np.array(sorted(case.colours)))
        assert difference.max() <= case.within + 0.5, sorted(colours)
