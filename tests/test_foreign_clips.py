"""Tars of sounds that others packed, a format each, from the index to trained weights; and what stats say of them."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ragdist import shards
from ragdist.data import index as index_file
from ragdist.data.reader import BadSample, ShardReader
from ragdist.data.shard_files import ShardFiles
from tests.conftest import TINY, begin, command
from tests.data_in_the_wild.making import tar_of
from tests.sounds import FORMATS, encoded, tone

RATE, FRAMES, EACH = 8000, 1024, 16
BAD = 3  # the sample of the FLACs that is damaged after it was indexed


def sound(seed: int) -> np.ndarray:
    """Some are stereo, some shorter, some longer."""
    return tone(seed, (FRAMES, FRAMES, 700, 1500)[seed % 4], 1 + seed % 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A tar for each format, indexed where it lies; one sample of FLAC is damaged then."""
    folder = tmp_path_factory.mktemp("clips") / "theirs"
    folder.mkdir()
    for number, (extension, kind) in enumerate(FORMATS.items()):
        seeds = range(number * EACH, (number + 1) * EACH)
        members = [
            (f"{seed:04d}.{name}", content)
            for seed in seeds
            for name, content in (
                (extension, encoded(sound(seed), *kind, RATE)),
                ("json", json.dumps({"word": "yes" if seed % 3 else "no", "text": "..."}).encode()),
                ("txt", b"yes"),
            )
        ]
        (folder / f"{extension}-{number:03d}.tar").write_bytes(tar_of(members))
    options = ["--label=word", f"--seconds={FRAMES / RATE}", "--channels=1", "--processes=2"]
    result = command("ragdist.shards", "index", "theirs", *options, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    assert "80 samples [1, 1024] in 5 shards, 2 classes" in result.stdout
    assert "mixed down to mono: 40 of 80" in result.stdout
    assert "padded with silence: 20 of 80" in result.stdout
    assert "cut to the beginning: 20 of 80" in result.stdout
    assert "ignored members: 80 .txt" in result.stdout
    _damage(folder)
    return folder


def _damage(folder: Path) -> None:
    index = index_file.load(folder)
    shard = next(shard for shard in index.shards if shard.name.startswith("flac"))
    content = bytearray((folder / shard.name).read_bytes())
    offset, length = index_file.load_table(folder, shard)[["offset", "length"]][BAD]
    content[int(offset) + int(length) // 2] ^= 1
    (folder / shard.name).write_bytes(content)


def train(data: Path, out: str, workers: int) -> list[str]:
    options = [o for o in TINY if "loader_workers" not in o]
    return [
        "ragdist.train", "--config=speech", *options, f"--data={data}", f"--out={out}", "--samples=960",
        "--data.max_bad=0.02", f"--data.loader_workers={workers}", "--checkpoint.every=320",
    ]  # fmt: skip


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def test_a_run_is_the_same_with_any_loaders_after_a_kill(data, tmp_path):
    """All formats are read, and what is damaged among them is replaced."""
    whole = command(*train(data, "whole", 0), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("its bytes changed since it was indexed") == 1
    process = begin(*train(data, "killed", 2), cwd=tmp_path)
    until = time.time() + 240
    while not list((tmp_path / "killed" / "checkpoints").glob("samples-*/manifest.json")) and time.time() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = command(*train(data, "killed", 2), cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "continuing from" in resumed.stdout
    of_whole, of_killed = summary(tmp_path / "whole"), summary(tmp_path / "killed")
    assert of_killed["weights_sha256"] == of_whole["weights_sha256"]
    assert of_killed["bad_samples"] == of_whole["bad_samples"] == 1


def test_what_is_damaged_is_found_by_check_and_named_by_the_reader(data, capsys):
    assert shards.check([str(data), "--processes=1"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"flac-001\.tar: its bytes do not match its SHA-256", said)
    assert re.search(r"flac-001\.tar: sample 3 \(0019\.flac\) at byte [\d,]+: its bytes changed", said)
    assert "79 of 80 samples are right" in said
    index = index_file.load(data)
    number = [shard.name for shard in index.shards].index("flac-001.tar")
    reader = ShardReader(ShardFiles(data, index))
    assert isinstance(reader.read(number, BAD), BadSample)
    assert isinstance(reader.payload(number, BAD), BadSample)
    sample, _, passed = reader.read_or_next(number, BAD)
    assert passed[0].sample == BAD
    assert np.array_equal(sample, reader.read(number, BAD + 1)[0])


def test_stats_say_what_clips_are_like_and_show_players(data, tmp_path, capsys):
    page = tmp_path / "page.html"
    shards.stats([str(data), f"--out={page}", "--columns=3"])
    said = capsys.readouterr().out
    assert "1,024 samples at 8,000 Hz, mono" in said
    assert re.search(r"^of all 79 samples|^of 79 samples", said, re.MULTILINE)
    assert "(1 cannot be read: `python -m ragdist.shards check` says why)" in said
    assert re.search(r"length +min 0\.087, median 0\.128, max 0\.188 s", said)
    assert re.search(r"padded +2[01] \(2[56]\.\d%\)", said)
    content = page.read_text()
    assert content.count("<audio") == 6, "three of each class"
    assert content.count("<h2>") == 2
    assert "1,024 samples at 8,000 Hz" in content
    shards.stats([str(data), f"--out={tmp_path / 'page.png'}", "--decode=0"])
    assert "length" not in capsys.readouterr().out


def test_loudness_silence_and_clipping_are_counted(tmp_path, capsys):
    quiet, loud = tone(0, peak=0.01), np.clip(tone(1) * 8, -1, 1)
    offset = np.full((1024, 1), 0.25, np.float32)
    sounds = [quiet, loud, offset, np.zeros((1024, 1), np.float32)]
    (tmp_path / "a.tar").write_bytes(tar_of([(f"{i}.wav", encoded(s, rate=RATE)) for i, s in enumerate(sounds)]))
    shards.index([str(tmp_path), "--processes=1"])
    shards.stats([str(tmp_path)])
    said = capsys.readouterr().out
    assert re.search(r"of all 4 samples$", said, re.MULTILINE)
    assert re.search(r"peak +min -100\.0, median -39\.9\d+, max 0\.0 dB", said)
    assert re.search(r"offset +min -100\.0, .* max -12\.041 dB", said)
    assert re.search(r"silent +1 \(25\.0%\)", said)
    assert re.search(r"clipped +1 \(25\.0%\)", said)
