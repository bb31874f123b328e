"""Transforms of clips are PyTorch's, with derivatives of any order that stay finite in silence, and their inverse."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ragdist.networks import stft

CLIPS = {
    "silence": torch.zeros(2, 1, 256),
    "a word and silence": torch.cat([torch.sin(torch.arange(100) / 3), torch.zeros(156)]).expand(2, 1, -1),
    "a constant": torch.full((2, 1, 256), 0.5),
    "full scale": torch.ones(2, 1, 256).cumsum(2).remainder(2) * 2 - 1,
}


def reference(clips: torch.Tensor, window: int, overlap: int = stft.OVERLAP) -> torch.Tensor:
    """`stft.transform` by torch.stft."""
    shape = torch.hann_window(window, dtype=clips.dtype)
    shape, hop = shape * 2 / shape.sum(), window // overlap
    padded = F.pad(clips.flatten(0, -2), (window // 2, window // 2))
    found = torch.stft(padded, window, hop, window=shape, center=False, return_complex=True)
    return torch.view_as_real(found.transpose(1, 2)).unflatten(0, clips.shape[:-1])


@given(
    b=st.integers(1, 3),
    c=st.integers(1, 2),
    t=st.integers(1, 200),
    w=st.sampled_from([4, 8, 32, 64]),
    overlap=st.sampled_from([2, 4]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_a_transform_and_its_derivatives_are_those_of_pytorch(b, c, t, w, overlap, seed):
    clips = torch.randn(b, c, t, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = []
    for transform in (stft.transform, reference):
        x = clips.clone().requires_grad_()
        y = transform(x, w, overlap)
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
        (third,) = torch.autograd.grad(second.sum(), x)
        found.append((y, first, second, third))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_derivatives_equal_finite_differences():
    x = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: stft.transform(x, 16), x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: stft.transform(x, 16).pow(3), x, fast_mode=True)


def test_a_sine_of_full_scale_has_the_magnitude_1():
    size = stft.transform(torch.sin(torch.arange(512) * (2 * math.pi * 5 / 64)), 64).square().sum(2).sqrt()
    assert size[4:-4, 5].numpy() == pytest.approx(1, abs=1e-5)
    assert size[4:-4, 20].max() < 1e-5


@given(
    w=st.sampled_from([8, 64, 256]), overlap=st.sampled_from([2, 4]), frames=st.integers(1, 9), seed=st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_the_inverse_gives_a_clip_back_up_to_its_ends(w, overlap, frames, seed):
    """Also where fewer frames overlap: nothing fades."""
    hop = w // overlap
    clip = torch.randn(2, 1, frames * hop, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first = (w - hop) // 2  # of the first frame before the clip
    shape = torch.hann_window(w, dtype=torch.float64)
    parts = F.pad(clip, (first, first)).unfold(2, w, hop) * shape * (2 / shape.sum())
    spectrum = torch.fft.rfft(parts)
    turned = torch.arange(frames).unsqueeze(1) * torch.arange(w // 2 + 1).double() * (2 * math.pi * hop / w)
    found = stft.inverse(spectrum.abs().float(), (spectrum.angle() - turned).remainder(2 * math.pi).float(), w, overlap)
    torch.testing.assert_close(found, clip.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bin_", [1, 3, 31])
def test_equal_magnitudes_and_phases_in_all_frames_are_one_sine_of_one_loudness(bin_):
    size, phase = torch.zeros(1, 1, 32, 33), torch.full((1, 1, 32, 33), 0.7)
    size[..., bin_] = 0.5
    clip = stft.inverse(size, phase, 64)[0, 0]
    # The first frame begins before the clip, and its phase is that of its first sample. A sine whose transform this
    # is would show in the two bins beside, too: of a lone one two thirds are left.
    expected = torch.cos((torch.arange(512) + 24) * (2 * math.pi * bin_ / 64) + 0.7) / 3
    torch.testing.assert_close(clip[32:-32], expected[32:-32], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clip, expected, rtol=0, atol=0.04)


def test_the_inverse_has_gradients_equal_to_finite_differences():
    torch.manual_seed(0)
    size, phase = (torch.rand(1, 1, 3, 9, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda *of: stft.inverse(*of, 16, 2), (size, phase), fast_mode=True)


@given(window=st.sampled_from([16, 64, 256, 2048]), bands=st.integers(1, 96), knee=st.floats(0.01, 1))
@settings(max_examples=30, deadline=None)
def test_mel_bands_average_and_rise(window, bands, knee):
    weights = stft.mel_weights(window, bands, knee)
    assert weights.shape == (window // 2 + 1, bands)
    assert weights.min() >= 0
    assert weights.sum(0).numpy() == pytest.approx(1, abs=1e-5)
    centres = torch.arange(len(weights)).double() @ weights
    assert (centres.diff() > -1e-4).all()


def test_log_mel_of_a_constant_power_is_its_level():
    noise = torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0))
    quiet, loud = (stft.log_mel(noise * level, 256, 20) for level in (0.2, 2.0))
    assert (loud - quiet)[..., 4:-4].mean().item() == pytest.approx(math.log(10), abs=0.01)
    assert stft.log_mel(noise * 0, 256, 20).numpy() == pytest.approx(math.log(stft.FLOOR), abs=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("clips", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("space", [lambda x: stft.points(x, 8), lambda x: stft.log_mel(x, 64, 20)])
def test_derivatives_are_bounded_in_silence(space, clips, autocast):
    """Of first and second order; below the floor of -60 dB, as gradient penalties meet it."""
    x = clips.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = space(x)
        assert y.dtype == torch.float32
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        (second,) = torch.autograd.grad((first * direction).sum(), x)
    assert first.abs().max() < 100 / stft.FLOOR
    assert second.abs().max() < 100 / stft.FLOOR**2
    with torch.no_grad():
        assert torch.equal(space(x), y)  # matrix products, too, are of float32


def test_gradients_have_the_same_bits_each_time():
    x = torch.randn(4, 2, 1024, generator=torch.Generator().manual_seed(0)).requires_grad_()
    one, two = (torch.autograd.grad(stft.points(x, 8).square().sum(), x)[0] for _ in range(2))
    assert torch.equal(one, two)


def test_what_inference_made_serves_training():
    window = 1 << 9  # nobody else's
    with torch.inference_mode():
        stft.log_mel(torch.zeros(1, 1, 512), window, 4)
        stft.inverse(torch.zeros(1, 1, 2, 257), torch.zeros(1, 1, 2, 257), window)
    x = torch.zeros(1, 1, 2, 257, requires_grad=True)
    stft.log_mel(stft.inverse(x + 1, x, window), window, 4).sum().backward()
    assert x.grad.norm() > 0


@given(t=st.integers(1, 3000), pool=st.integers(1, 64), channels=st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_points_of_clips_of_any_length(t, pool, channels):
    clips = torch.randn(2, channels, t, generator=torch.Generator().manual_seed(t)) / 4
    points = stft.points(clips, pool)
    assert points.dtype == torch.float32
    assert points.shape[1] <= 2 * pool * channels * stft.BANDS
    assert torch.isfinite(points).all()
