"""Clips that are generated, listened to, looked at and judged, by the commands."""

import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ragdist.evaluate import main as judge
from ragdist.generate import main as draw
from ragdist.modalities.audio import judging, listen
from ragdist.modalities.base import Form
from tests.conftest import TINY, command, refused_here

RATE, LENGTH = 4_000, 1_024
FORM = Form((1, LENGTH), {"rate": RATE})
NETWORK = [words for words in TINY if not words.startswith("--monitor")]
FEW = ["--samples=40", "--features=log_mel", "--device=cpu"]


def tone(seed: int, frequency: float, rate: int = RATE, length: int = LENGTH) -> np.ndarray:
    """A word of one tone that begins and ends quietly, float [length]."""
    rng = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * frequency * rng.uniform(0.9, 1.1) * np.arange(length) / rate + rng.uniform(0, 6))
    return np.hanning(length) * rng.uniform(0.4, 0.9) * wave + 0.003 * np.hanning(length) * rng.normal(size=length)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with recordings of two classes, shards of them, and a run of two updates that judged itself."""
    cwd = tmp_path_factory.mktemp("clips")
    for i in range(48):
        path = cwd / "recordings" / ("low", "high")[i % 2] / f"{i:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(i, (300, 900)[i % 2]), RATE)
    words = ["recordings", "data", f"--rate={RATE}", f"--seconds={LENGTH / RATE}", "--processes=1"]
    assert (made := command("ragdist.shards", *words, cwd=cwd)).returncode == 0, made.stderr
    options = ["--data=data", "--out=run", "--samples=64", "--network.labels=true", "--monitor.grid_every=64"]
    options += ["--evaluate_every=64", "--evaluate.samples=20", "--evaluate.features=log_mel", "--evaluate.cache=cache"]
    made = command("ragdist.train", *NETWORK, *options, cwd=cwd)
    assert made.returncode == 0, made.stderr
    assert "evaluation after 64 clips: frechet_distance" in made.stdout
    assert "python -m ragdist.generate run --n 64 --seed 1 --out samples.wav" in made.stdout
    return cwd


def read(path) -> np.ndarray:
    """The samples of a WAV of the form's rate and 16 bits, int16 [T, C]."""
    about = soundfile.info(path)
    assert (about.format, about.subtype, about.samplerate) == ("WAV", "PCM_16", RATE)
    return soundfile.read(path, dtype="int16", always_2d=True)[0]


def test_clips_go_into_a_folder_or_one_file_and_are_the_same(place, tmp_path):
    run = str(place / "run")
    draw([run, "--n=5", f"--out={tmp_path / 'many'}"])
    draw([run, "--n=5", f"--out={tmp_path / 'all.wav'}"])
    paths = sorted((tmp_path / "many").iterdir())
    assert [path.name for path in paths] == [f"{i:06d}.wav" for i in range(5)]
    clips, pause = [read(path)[:, 0] for path in paths], round(0.3 * RATE)
    assert {len(clip) for clip in clips} == {LENGTH}
    parts = read(tmp_path / "all.wav")[:, 0].reshape(5, LENGTH + pause)
    assert not parts[:, LENGTH:].any()
    inside = slice(20, LENGTH - 20)  # what is no fade
    for part, clip in zip(parts, clips, strict=True):
        assert np.abs(part[inside].astype(int) - clip[inside]).max() <= 1
    draw([str(place / "run/generator.safetensors"), "--n=2", f"--out={tmp_path / 'two.wav'}"])
    assert np.abs(read(tmp_path / "two.wav")[: LENGTH - 20, 0].astype(int) - parts[0, : LENGTH - 20]).max() <= 1


def test_no_join_of_clips_clicks():
    loud = torch.full((3, 2, LENGTH), 30_000, dtype=torch.int16)
    joined = listen.one_after_the_other(loud, Form((2, LENGTH), {"rate": RATE})).int()
    assert joined.shape == (2, 3 * (LENGTH + round(0.3 * RATE)))
    assert int(joined.diff(dim=1).abs().max()) <= 30_000 // 12
    assert int(joined[:, 0].abs().max()) <= 30_000 // 12
    assert int((joined == 30_000).sum()) == 2 * 3 * (LENGTH - 2 * 12)


def test_a_class_by_name_and_rows_between_latents(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = str(place / "run")
    classes = json.loads((place / "data/index.json").read_text())["classes"]
    for chosen in ("high", "low", classes.index("low")):
        draw([run, "--n=1", f"--class={chosen}", f"--out={chosen}.wav"])
    assert (read("high.wav") != read("low.wav")).any()
    assert (read(f"{classes.index('low')}.wav") == read("low.wav")).all()
    draw([run, "--interpolate", "--n=2", "--frames=3"])
    rows = read("samples.wav").reshape(2, 4, -1)  # three steps from one latent to the other, which is there, too
    assert all((one != other).any() for row in rows for one, other in pairwise(row))
    draw([run, "--interpolate", "--n=1", "--frames=1"])
    assert (read("samples.wav").reshape(2, -1) == rows[0, [0, -1]]).mean() > 0.99


def test_names_that_hold_no_clips_are_refused(place):
    run = place / "run"
    assert refused_here(draw, run, "--out=a.mp3") == "--out a.mp3: end it in .wav, or name a folder"
    assert refused_here(draw, run, "--out=a.gif", "--interpolate").endswith("into one file, a WAV; name it a.wav")
    assert refused_here(draw, run, "--out=a", "--interpolate").endswith("into one file, a WAV; name it a.wav")
    for folder in (".", "..", "/"):
        assert refused_here(draw, run, f"--out={folder}", "--interpolate").endswith("go into one file: name one in it")
    assert "did you mean 'high'?" in refused_here(draw, run, "--class=hihg")
    many = torch.zeros(1, 1, 1, dtype=torch.int16).expand(2_000_000, 1, 1)
    assert refused_here(lambda words: judging.write(many, FORM, Path(words[0]), None), "a.wav") == (
        "--out a.wav: 2,000,000 clips are more than a WAV holds; name a folder"
    )


def test_tensorboard_plays_clips(place):
    events = EventAccumulator(str(place / "run"), {"audio": 0, "images": 0}).Reload()
    (first, last) = events.Audio("samples")
    assert (first.step, last.step) == (0, 64)
    played = soundfile.read(io.BytesIO(last.encoded_audio_string))[0]
    assert (last.sample_rate, len(played)) == (RATE, 10 * (LENGTH + round(0.3 * RATE)))
    assert len(events.Images("samples")) == 2
    assert sum(path.stat().st_size for path in (place / "run").glob("events*")) < 1 << 20


def test_long_clips_leave_event_files_and_pages_small(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    form = Form((2, 131_072), {"rate": 44_100})
    clips = (torch.rand(5, *form.shape) * 20_000).to(torch.int16)
    board = SummaryWriter(str(tmp_path))
    judging.log(board, "samples", clips, form, judging.preview(clips[:1], form), 1)
    board.close()
    (events,) = tmp_path.iterdir()
    assert events.stat().st_size < 1_700_000  # 15 seconds, and pictures
    page = listen.players(clips[:1], form, 6)
    assert page.count("data:audio/mpeg;base64,") == 1
    assert len(page) < 100_000
    noise = (torch.rand(1, 2, 1 << 18) * 20_000).to(torch.int16)
    page = listen.players(noise, Form((2, 1 << 18), {"rate": 96_000}), 6)
    assert "<audio" not in page
    assert "too long, or of too many channels, to be played in a page" in page
    for channels, rate in ((3, 8_000), (9, 44_100), (1, 70_001)):  # MP3 has two, FLAC eight, and not any rate
        page = listen.players(
            noise[:, :1, : 1 << 16].expand(1, channels, -1), Form((channels, 1 << 16), {"rate": rate}), 6
        )
        assert "<audio" not in page


@pytest.fixture(scope="module")
def judged(place):
    """The output of an evaluation of the run, in its own folder."""
    result = command("ragdist.evaluate", "run", *FEW, "--cache=cache", cwd=place)
    assert result.returncode == 0, result.stderr
    return result.stdout


def figures(folder) -> dict[str, float]:
    content = json.loads((folder / "evaluation.json").read_text())
    return {name: figure["value"] for name, figure in content["figures"].items()}


def test_a_run_of_clips_is_judged(place, judged):
    found = figures(place / "run")
    wanted = {"frechet_distance", "kid", "precision", "recall", "density", "coverage", "copies", "authenticity"}
    assert wanted | {"clipped", "silent", "loud_ends", "clicks", "end_level"} <= set(found)
    assert not {"swd_8", "ms_ssim", "modes"} & set(found)
    assert found["loud_ends"] == 1  # of an untrained network
    assert "16 bits a sample" in judged
    assert "mel spectra" in judged


def test_weights_for_features_that_clips_have_not_are_refused(place):
    words = [str(place / "run"), "--device=cpu", f"--data={place / 'data'}", f"--cache={place / 'cache'}"]
    for features in ("auto", "log_mel"):
        assert refused_here(judge, *words, "--inception_weights=w.pth", f"--features={features}") == (
            "--inception_weights w.pth: clips have no features inception; leave it out"
        )


def test_the_page_has_players_pictures_and_a_row_for_each_class(place, judged):
    page = (place / "run/evaluation.html").read_text()
    for part in ("Samples", "Samples by class", "Nearest training clips", "Between latents", "Over the training"):
        assert f"<h2>{part}</h2>" in page
    assert "<h3>high</h3>" in page
    assert "0.256 s" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|url\(|<script|@import", page)
    sounds = re.findall(r'src="data:audio/wav;base64,([^"]*)"', page)
    assert len(sounds) == page.count("data:image/webp;base64,") == 48 + 2 * 6 + 2 * 2 * 12 + 6 * 6
    assert len(page) < 2 << 20


def test_files_of_any_form_are_judged_as_recordings_become_clips(place, judged, tmp_path):
    (tmp_path / "others").mkdir()
    for i in range(12):
        stereo = np.stack([tone(i, 300, 16_000, 6_000)] * 2, 1)  # 375 ms at 16 kHz
        soundfile.write(tmp_path / f"others/{i}.wav", stereo, 16_000, subtype="FLOAT")
        soundfile.write(tmp_path / f"others/{i + 12}.flac", tone(i, 900)[:900], RATE)
    words = [*FEW, "--metrics=frechet,clip_faults", f"--data={place / 'data'}", f"--cache={place / 'cache'}"]
    result = command("ragdist.evaluate", "others", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for what in ("resampled to 4,000 Hz", "mixed down to mono", "cut to the loudest part", "padded with silence"):
        assert f"note: {what}: 12 of 24 samples" in result.stdout
    assert figures(tmp_path / "others-evaluation")["frechet_distance"] < figures(place / "run")["frechet_distance"]
    (tmp_path / "others/0.wav").write_text("no sound")
    result = command("ragdist.evaluate", "others", *words, cwd=tmp_path)
    assert result.returncode == 2
    assert "0.wav cannot be compared with the data (it is no sound file" in result.stderr
