"""The space in which clips are compared hears words and not phases, and the relative term is calibrated in it."""

import io
import math
import os
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ragdist.networks import stft
from ragdist.objective.relative import flatten, relative_term

M = 32  # slots of a group


@pytest.fixture(scope="module")
def spoken() -> tuple[Tensor, list[tuple[str, str]]]:
    """1,600 recordings of spoken digits as clips [n, 1, 4096] at 8 kHz, and who says which digit; or a skip."""
    path = Path(os.environ.get("RAGDIST_TEST_DATA", "."), "fsdd-train.tar.gz")
    if not path.is_file():
        pytest.skip("RAGDIST_TEST_DATA names no folder with fsdd-train.tar.gz")
    clips, said = np.zeros((1600, 1, 4096), np.float32), []
    with tarfile.open(path) as tar:
        for member in tar:
            if not member.name.endswith(".wav") or len(said) == len(clips):
                continue
            with wave.open(io.BytesIO(tar.extractfile(member).read())) as file:
                samples = np.frombuffer(file.readframes(4096), "<i2")
            clips[len(said), 0, : len(samples)] = samples / 32768
            said.append(tuple(Path(member.name).stem.split("_")[:2]))
    return torch.from_numpy(clips[: len(said)]), said


def made(count: int) -> Tensor:
    """Clips [count, 1, 1024] of a few harmonics each, louder and softer, higher and lower, with silence behind."""
    generate = torch.Generator().manual_seed(0)
    pitch, level, length = (torch.rand(count, 1, generator=generate) for _ in range(3))
    strength = torch.rand(count, 8, 1, generator=generate).square()
    phase = torch.rand(count, 8, 1, generator=generate) * 2 * math.pi
    time, number = torch.arange(1024), torch.arange(1, 9).view(1, 8, 1)
    waves = strength * torch.cos(time * (0.02 + 0.1 * pitch.unsqueeze(2)) * number + phase)
    envelope = torch.sigmoid((300 + 700 * length - time) / 20) * 10 ** (-2 * level)
    return (waves.sum(1) / 8 * envelope).unsqueeze(1)


def turned(clips: Tensor, angle: float) -> Tensor:
    """The clips with the phases of all frequencies moved so far: they sound the same."""
    spectrum = torch.fft.rfft(clips) * complex(math.cos(angle), math.sin(angle))
    return torch.fft.irfft(spectrum, n=clips.shape[2])


def mean_distance(space, a: Tensor, b: Tensor) -> float:
    return (space(a) - space(b)).norm(dim=1).mean().item()


def points(clips: Tensor) -> Tensor:
    return stft.points(clips, 32)


def samples(clips: Tensor) -> Tensor:
    return flatten(clips, clips.shape[2])


def test_points_hear_another_word_and_no_other_phase(spoken):
    clips, said = spoken
    some = range(0, len(clips), 8)
    other, take = [], []
    for i in some:
        digit, speaker = said[i]
        alike = [j for j, (_, by) in enumerate(said) if by == speaker and j != i]
        other.append(next(j for j in alike[i % 50 :] + alike if said[j][0] != digit))
        take.append(next(j for j in alike[i % 50 :] + alike if said[j][0] == digit))
    one, other, take = clips[list(some)], clips[other], clips[take]
    ratios = {}
    for space in (samples, points):
        word = mean_distance(space, one, other)
        ratios[space] = (
            mean_distance(space, one, turned(one, math.pi / 2)) / word,
            mean_distance(space, one, take) / word,
        )
    assert ratios[samples][0] > 0.9  # a phase is another word
    assert ratios[points][0] < 0.1
    assert ratios[samples][1] > 0.9  # the same word again, too
    assert ratios[points][1] < 0.8


@pytest.mark.parametrize("space", [points, samples])
def test_that_is_so_of_clips_made_here(space):
    clips = made(200)
    ratio = mean_distance(space, clips, turned(clips, math.pi / 2)) / mean_distance(space, clips, clips.roll(1, 0))
    assert ratio < 0.25 if space is points else ratio > 0.7


# Ways to change a clip, of which the derivative at no change is [n, 1, T].
CHANGES = {
    "louder": lambda y: y,
    "brighter": lambda y: y - y.roll(1, 2),
    "fading": lambda y: y * torch.linspace(1, -1, y.shape[2]),
}


def pull(clips: Tensor, change, *, relative: bool, pairing: str = "cover", p: int = 1) -> tuple[float, float]:
    """The term's derivative at fakes that are drawn from the data, as they are changed: mean and standard error."""
    groups = len(clips) // (2 * M)
    pick = torch.randperm(len(clips), generator=torch.Generator().manual_seed(1))[: groups * 2 * M].view(2, -1)
    real, fake = clips[pick[0]], clips[pick[1]].requires_grad_()
    found = relative_term(points(real), points(fake), None, pairing=pairing, relative=relative, p=p, group=M)
    (gradient,) = torch.autograd.grad(found.term / M, fake)
    slopes = (gradient * change(fake.detach())).view(groups, -1).sum(1).numpy()
    return slopes.mean(), slopes.std(ddof=1) / np.sqrt(groups)


@pytest.mark.parametrize(("source", "pairing"), [("made", "cover"), ("made", "all"), ("spoken", "cover")])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_term_does_not_move_clips_of_the_data_distribution(source, change, pairing, request):
    clips = made(1920) if source == "made" else request.getfixturevalue("spoken")[0]
    mean, error = pull(clips, change, relative=True, pairing=pairing)
    assert abs(mean) < 4 * error


@pytest.mark.parametrize(("pairing", "change"), [("all", "louder"), ("cover", "fading")])
def test_without_its_second_part_it_does(pairing, change):
    """So that the test above can fail."""
    mean, error = pull(made(1920), CHANGES[change], relative=False, pairing=pairing)
    assert abs(mean) > 4 * error
