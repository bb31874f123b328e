"""Runs of clips by the commands: music in stereo at 44.1 kHz, the same weights on two workers and in parts."""

import json
import math
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from ragdist.config.shards import ShardOptions
from ragdist.data.writing.writer import write_shards
from ragdist.distributed.world import World
from ragdist.modalities.audio.options import AudioOptions
from tests.conftest import command, refused
from tests.ranks import on_ranks
from tests.test_world import config_of, error, train

RATE = 44_100
SMALL = ["--config=music", "--samples=16", "--network.g_width=8", "--network.d_width=8", "--network.max_width=16", "--network.group_width=8",
         "--network.z_dim=8", "--batch_size=8", "--objective.group=4", "--objective.pool=8", "--data.loader_workers=0",
         "--monitor.grid_every=1000000", "--monitor.tensorboard=false"]  # fmt: skip


def chord(seed: int) -> np.ndarray:
    """A second of a chord that fades, in stereo, int16 [RATE, 2]: other voices on the left than on the right."""
    random = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    root = 110 * 2 ** (random.integers(0, 24) / 12)
    voices = [np.sin(2 * math.pi * root * 2 ** (step / 12) * time) for step in (0, 4, 7, 12)]
    sides = np.stack([voices[0] + voices[2], voices[1] + voices[3]], 1) * np.exp(-3 * time)[:, None]
    return (sides * 8000).astype("<i2")


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """A folder with shards of clips of 4,096 samples, cut from ten chords, and a run of two updates.

    The first is with penalties.
    """
    cwd = tmp_path_factory.mktemp("music")
    (cwd / "chords").mkdir()
    for number in range(10):
        with wave.open(str(cwd / f"chords/{number}.wav"), "wb") as file:
            file.setparams((2, 2, RATE, 0, "NONE", ""))
            file.writeframes(chord(number).tobytes())
    asked = AudioOptions(rate=RATE, seconds=0.05, channels=2, slice="windows", gain="keep")
    write_shards(str(cwd / "chords"), cwd / "shards", ShardOptions(processes=1), asked)
    result = command("ragdist.train", "--data=shards", "--out=run", *SMALL, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd


def read(path: Path) -> tuple[int, int, np.ndarray]:
    """(rate, channels, samples) of a WAV of 16 bits."""
    with wave.open(str(path)) as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return file.getframerate(), file.getnchannels(), samples


def test_music_stays_stereo_at_its_rate_from_recordings_to_samples(music):
    index = json.loads((music / "shards/index.json").read_text())
    assert (index["shape"], index["spec"]["rate"]) == ([2, 4096], RATE)
    result = command("ragdist.generate", "run", "--out=made", "--n=3", cwd=music)
    assert result.returncode == 0, result.stderr
    made = sorted((music / "made").glob("*.wav"))
    assert len(made) == 3
    for path in made:
        rate, channels, samples = read(path)
        assert (rate, channels, samples.shape) == (RATE, 2, (4096, 2))
        assert samples.std() > 0
        assert (samples[:, 0] != samples[:, 1]).any()
    result = command("ragdist.generate", "run/generator.safetensors", "--out=all.wav", "--n=2", cwd=music)
    assert result.returncode == 0, result.stderr
    rate, channels, samples = read(music / "all.wav")
    assert (rate, channels) == (RATE, 2)
    assert len(samples) >= 2 * 4096


# Rates are small at first, for rounding that Adam divides by itself is no small change.
OTHER = {
    "in parts": ["--optim.micro_batch=4"],
    "alternating": ["--optim.update=alternating"],
    "in D's features": ["--objective.space=feature"],
    "bfloat16": ["--precision=bf16"],
}


def of_all(world: World, size: int, where: Path, names: list[str]) -> list[dict]:
    """Runs of the first ``size`` ranks."""
    options = [*SMALL, "--optim.warmup_samples=2000", f"--data={where / 'shards'}"]
    configs = [config_of(*options, *OTHER.get(name, []), f"--out={where / f'{name} on {size}'}") for name in names]
    return [train(world, config) for config in configs]


@pytest.fixture(scope="module")
def single(music) -> dict[str, dict]:
    """What one process makes of each."""
    torch.set_num_threads(1)
    names = ["as usual", *OTHER]
    return dict(zip(names, of_all(World(0, 1, torch.device("cpu")), 1, music, names), strict=True))


def test_weights_do_not_depend_on_the_workers_and_parts_that_they_are_trained_in(music, single):
    names = ["as usual", "in D's features"]
    for rank in on_ranks(2, of_all, 2, music, names):
        for name, found in zip(names, rank, strict=True):
            assert np.array_equal(found["weights"], single[name]["weights"]), name
            assert np.array_equal(found["gradients"], single[name]["gradients"]), name
    assert error(single["in parts"]["weights"], single["as usual"]["weights"]) < 1e-5


def test_clips_are_trained_in_every_way(single):
    usual = single["as usual"]["weights"]
    for name, found in single.items():
        assert found["samples"] == 16
        assert np.isfinite(found["weights"]).all()
        assert error(found["weights"], usual) < 0.02, name
    assert error(single["in D's features"]["weights"], usual) > 0


def test_without_shards_the_preset_names_what_makes_them(tmp_path):
    said = refused(command("ragdist.train", "--config=music", cwd=tmp_path))
    options = "--rate 44100 --seconds 2.9 --channels 2 --slice windows --gain keep"
    assert f"python -m ragdist.shards SOURCE shards/music {options}`" in said
