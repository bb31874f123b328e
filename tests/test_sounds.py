"""Shards of sounds through the commands: options that two modalities share, sources, and a preset that makes its own."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="the extra 'audio' is not installed")
pytest.importorskip("soxr", reason="the extra 'audio' is not installed")
from ragdist import shards
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.data.sources import espeak
from ragdist.data.writing.writer import write_shards
from ragdist.modalities import joined_options
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, each_refused, refused, refused_here
from tests.data_in_the_wild.sounds import FRAMES, RATE, sound, tone

TRAIN = "ragdist.train"
SMALL = {"rate": RATE, "seconds": FRAMES / RATE, "format": "wav"}


def read(folder: Path) -> list[tuple[np.ndarray, int]]:
    index = index_file.load(folder)
    reader = ShardReader(ShardFiles(folder, index))
    found = [reader.read(n, i) for n, shard in enumerate(index.shards) for i in range(shard.samples)]
    return [(samples.numpy(), label) for samples, label in found]


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.tar")))).hexdigest()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Twelve recordings of 1 to 12 clips, one of them unreadable, in two class folders."""
    root = tmp_path_factory.mktemp("recordings")
    for number in range(12):
        folder = root / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        samples = np.random.default_rng(number).normal(scale=0.1, size=((number + 1) * FRAMES, 1)).clip(-1, 1)
        kind = ("FLAC", "WAV")[number % 3 == 0]
        (folder / f"{number}.{kind.lower()}").write_bytes(sound(kind, samples=samples.astype(np.float32)))
    (root / "a/empty.wav").touch()
    return root


# Options.


def test_help_says_of_a_shared_option_what_it_means_for_each_modality(capsys):
    with pytest.raises(SystemExit):
        shards.main(["--help", "channels"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "--channels {0,1,3,2} of images: 1: grey, 3: RGB; 0: as they are, all alike (default 0); of clips: 1: mono"
        in said
    )
    with pytest.raises(SystemExit):
        shards.main(["--help", "all"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--audio.channels" not in said
    assert "--format {keep,png,jpg,flac,wav}" in said


def test_a_shared_option_is_each_modalitys_own():
    joined = joined_options.of_writing()
    images, clips = (lambda given, kind=kind: joined.of(kind, given, "it") for kind in ("image", "audio"))
    assert (images({}).channels, images({}).format) == (0, "keep")
    assert (clips({}).channels, clips({}).format) == (1, "flac")
    assert (clips({"channels": None}).channels, clips({"channels": 0}).channels) == (1, 0), "0 is said, too"
    assert clips({"audio.channels": 2}).channels == 2
    assert clips({"audio.channels": 2, "channels": 0}).channels == 2
    assert (images({"channels": 3}).channels, clips({"format": "wav"}).format) == (3, "wav")
    for of, given, says in (
        (images, {"channels": 2}, "--channels 2: of images it is one of 0, 1, 3"),
        (images, {"format": "flac"}, "--format flac: of images it is one of keep, png, jpg"),
        (clips, {"channels": 3}, "--channels 3: of clips it is one of 0, 1, 2"),
        (clips, {"audio.channels": 3}, "--audio.channels 3: of clips it is one of 0, 1, 2"),
        (images, {"audio.channels": 2}, "--audio.channels: it holds images, and it is for clips; give --channels"),
        (images, {"rate": 8000}, "--rate: it holds images, and it is for clips; leave it out"),
        (clips, {"rate": 10}, "--rate 10: it must be from 1,000 to 384,000"),
    ):
        with pytest.raises(UserError) as error:
            of(given)
        assert str(error.value) == says
    assert joined.said({"channels": None, "format": "wav", "size": 8}) == {"format": "wav", "size": 8}


# Windows.


def test_windows_of_recordings_are_the_same_bytes_from_any_number_of_processes(recordings, tmp_path, warm_processes):
    found = {}
    for name, more in {"one": {"processes": 1}, "two": {"processes": 2}}.items():
        summary = write_shards(str(recordings), tmp_path / name, ShardOptions(shard_samples=40, bad="skip", **more),
                               SMALL | {"slice": "windows"})  # fmt: skip
        assert (summary.index.samples, len(summary.index.shards)) == (78, 2)
        assert summary.skipped == ["a/empty.wav: it is empty"]
        found[name] = digest(tmp_path / name)
    assert found["one"] == found["two"]
    labels = [label for _, label in read(tmp_path / "one")]
    assert (labels.count(0), labels.count(1)) == (36, 42), "a window has the class of its recording"
    clips = {samples.tobytes() for samples, _ in read(tmp_path / "one")}
    assert len(clips) == 78, "no two are the same part"


def test_windows_that_were_half_written_are_gone_on_with(recordings, tmp_path, monkeypatch, capsys):
    options, own = ShardOptions(shard_samples=20, bad="skip", processes=1), SMALL | {"slice": "windows"}
    write_shards(str(recordings), tmp_path / "whole", options, own)
    monkeypatch.setattr("ragdist.data.writing.pack.write_whole", _once_and_stop())
    with pytest.raises(KeyboardInterrupt):
        write_shards(str(recordings), tmp_path / "out", options, own)
    monkeypatch.undo()
    capsys.readouterr()
    write_shards(str(recordings), tmp_path / "out", options, own)
    assert "continuing: 1 of 4 shards are finished" in capsys.readouterr().out
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def _once_and_stop():
    """Writes the record of a finished shard, and is interrupted at the next."""
    written = []

    def write(path, content):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_whole(path, content)

    return write


# Sources.


def test_sounds_of_the_datasets_library(tmp_path):
    """Encoded, by their bytes and by paths, and decoded."""
    datasets = pytest.importorskip("datasets")
    (tmp_path / "a.wav").write_bytes(sound())
    files = [{"bytes": sound(), "path": None}, {"bytes": None, "path": str(tmp_path / "a.wav")}]
    encoded = datasets.Dataset.from_dict({"sound": files, "kind": [1, 0]})
    # As Audio only now: rows that are given as such are encoded, for which torchcodec must be there.
    encoded = encoded.cast_column("sound", datasets.Audio(decode=False))
    encoded.cast_column("kind", datasets.ClassLabel(names=["x", "y"])).save_to_disk(tmp_path / "encoded")
    rows = [{"array": tone()[:, 0].tolist(), "sampling_rate": RATE}] * 2
    # With types: rows like these are taken for Audio otherwise.
    plain = {"array": datasets.List(datasets.Value("float32")), "sampling_rate": datasets.Value("int32")}
    features = datasets.Features({"audio": plain, "label": datasets.Value("int64")})
    datasets.Dataset.from_dict({"audio": rows, "label": [0, 1]}, features=features).save_to_disk(tmp_path / "decoded")
    expected = (0.95 * 32768 / 0.5 * tone()[:, 0]).round()
    for name, classes in (("encoded", ("x", "y")), ("decoded", ("0", "1"))):
        summary = write_shards(f"hf:{tmp_path / name}", tmp_path / "out", ShardOptions(), SMALL, overwrite=True)
        assert (summary.index.codec, summary.index.classes) == ("audio", classes)
        found = read(tmp_path / "out")
        assert sorted(label for _, label in found) == [0, 1]
        assert max(np.abs(samples[0] - expected).max() for samples, _ in found) <= 2
    line = refused_here(shards.main, f"hf:{tmp_path / 'encoded'}", tmp_path / "no", "--modality=image")
    assert line.endswith("has no column of images but sound, kind")


def test_a_preset_makes_its_own_shards_with_nothing_at_hand_and_trains(tmp_path):
    pytest.importorskip("espeakng_loader", reason="the extra 'audio' is not installed")
    small = f"--rate {RATE} --seconds 0.1 --gain rms --format wav --processes 1"
    # Not the preset's networks, which are not tried here.
    tiny = [option for option in TINY if not option.startswith("--network")]
    options = ["--config=speech", *tiny, "--network.family=mlp", "--network.g_width=16", "--network.d_width=16",
               "--samples=64", "--batch_size=32", "--objective.group=16", "--out=run"]  # fmt: skip
    mistakes = {
        "--seconts 1": "error: --data.source_options: unknown option --seconts; did you mean --seconds?",
        "--rate '4000": "error: --data.source_options: No closing quotation",
        "--size 8": "error: --size: speech holds clips, and it is for images; leave it out",
    }
    lines = each_refused(tmp_path, *([TRAIN, *options, f"--data.source_options={words}"] for words in mistakes))
    assert lines == list(mistakes.values())
    result = command(TRAIN, *options, f"--data.source_options={small}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    index = index_file.load(tmp_path / "shards/speech")
    assert (index.samples, index.shape, index.spec) == (3600, (1, 512), {"rate": RATE})
    assert index.classes == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    labels = [label for _, label in read(tmp_path / "shards/speech")]
    assert [labels.count(digit) for digit in range(10)] == [360] * 10


def test_what_is_said_does_not_depend_on_what_was_said_before(tmp_path):
    """By this process: parts are said by whichever process is free."""
    pytest.importorskip("espeakng_loader", reason="the extra 'audio' is not installed")
    every = espeak.utterances()

    def said(first: int) -> list[bytes]:
        rate, samples = espeak.say(every[first::90], tmp_path)
        assert rate == 22_050
        return [one.tobytes() for one in samples]

    before, _, after = said(0), said(7), said(0)
    assert before == after
    assert len(set(before)) == 40
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_there_is_a_line(tmp_path):
    """What is missing, and how to get it; and pictures need none of it."""
    for name in ("soundfile", "soxr", "espeakng_loader"):
        (tmp_path / "none").mkdir(exist_ok=True)
        (tmp_path / f"none/{name}.py").write_text("raise ImportError('none here')")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").write_bytes(sound())
    script = "import sys; sys.path.insert(0, 'none'); from ragdist.tools.errors import run_command; from ragdist import shards\n"
    (tmp_path / "bare.py").write_text(script + "if __name__ == '__main__': run_command(shards.main)")
    line = refused(command("bare", "in", "out", cwd=tmp_path))
    assert line == "error: sounds need soundfile and soxr (none here): pip install 'ragdist[audio]'"
    result = command("bare", "digits", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "out/index.json").read_text())["codec"] == "image"
