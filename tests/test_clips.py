"""From recordings to clips: places, resampling, channels, loudness; and what many sources of them become."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("soundfile", reason="the extra 'audio' is not installed")
pytest.importorskip("soxr", reason="the extra 'audio' is not installed")
import soxr

from ragdist.modalities.audio import clip
from ragdist.modalities.audio.options import AudioOptions, length
from ragdist.modalities.audio.recording import Recording

FRAMES, RATE = 256, 4000
RATES = st.sampled_from([1000, 4000, 7919, 8000, 11025, 22050, 44100, 48000, 192000])


def options(**others) -> AudioOptions:
    return AudioOptions(**{"rate": RATE, "seconds": FRAMES / RATE, "gain": "keep"} | others)


def noise(frames: int, channels: int = 1, seed: int = 0, level: float = 0.1) -> np.ndarray:
    found = np.random.default_rng(seed).normal(scale=level, size=(frames, channels)).clip(-0.99, 0.99)
    return np.round(found * 32768).astype(np.int16)


@given(st.integers(1, 400_000), st.floats(1e-4, 60))
def test_a_clip_has_the_next_power_of_two_of_samples(rate, seconds):
    count = length(rate, seconds)
    assert count & (count - 1) == 0
    assert count >= round(rate * seconds)
    assert count == 1 or count / 2 < round(rate * seconds)


@given(st.integers(1, 5000), st.integers(1, 3))
@example(FRAMES // 2, 1)
@example(FRAMES // 2 - 1, 1)
@example(3 * FRAMES + FRAMES // 2, 2)
def test_windows_cover_a_recording_without_overlap(frames, channels):
    """All of it is there, once and in order, but for a rest of less than half a clip."""
    whole, chosen = noise(frames, channels), options(slice="windows", channels=0)
    count = clip.windows(frames, FRAMES)
    clips = [clip.clip(Recording(whole, RATE), chosen, number)[0] for number in range(count)]
    assert all(found.shape == (FRAMES, channels) for found in clips)
    joined = np.concatenate(clips)
    covered = min(frames, len(joined))
    np.testing.assert_array_equal(joined[:covered], whole[:covered])
    assert not joined[covered:].any(), "what is padded is silence, behind"
    assert frames - covered < FRAMES / 2
    assert len(joined) - covered <= FRAMES / 2 or count == 1


@given(RATES, st.integers(2000, 20_000), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_windows_are_cut_out_of_the_whole_recording_resampled(rate, frames, seed):
    """Each part is read and resampled alone, and no seam is heard."""
    sound = Recording(noise(frames, seed=seed), rate)
    whole = soxr.resample(sound.read(0, frames), rate, RATE)
    for number in range(clip.windows(clip.frames_at(sound, RATE), FRAMES)):
        start = number * FRAMES
        count = min(FRAMES, len(whole) - start)
        found = clip.resampled(sound, RATE, start, count)
        np.testing.assert_allclose(found, whole[start : start + count], atol=2e-4)


@given(RATES, st.floats(0.02, 0.4), st.integers(3000, 9000))
@settings(max_examples=30, deadline=None)
def test_a_tone_stays_a_tone_at_its_place(rate, pitch, frames):
    """``pitch`` is in periods a sample of the slower of the two rates; the part is from the middle of the recording."""
    hertz = pitch * min(rate, RATE)
    sound = Recording(0.5 * np.sin(2 * np.pi * hertz * np.arange(frames * rate // RATE + 1) / rate)[:, None], rate)
    start = clip.frames_at(sound, RATE) // 2
    found = clip.resampled(sound, RATE, start, FRAMES)
    expected = 0.5 * np.sin(2 * np.pi * hertz * (start + np.arange(FRAMES)) / RATE)
    np.testing.assert_allclose(found[:, 0], expected, atol=5e-4)


@given(RATES, st.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_a_recording_of_any_rate_has_its_edges(rate, frames):
    """Its first and last frames are part of the clip, however few there are."""
    sound = Recording(np.full((frames, 1), 0.5, np.float32), rate)
    count = clip.frames_at(sound, RATE)
    assert abs(count - frames * RATE / rate) <= max(0.5, 1 - frames * RATE / rate)
    found = clip.resampled(sound, RATE, 0, count)
    assert found.shape == (count, 1)
    assert np.isfinite(found).all()
    if count > 8:
        assert np.abs(found[4:-4] - 0.5).max() < 0.5, "silence lies around it"
        assert found[0] > 0.1
        assert found[-2] > 0.1


@given(st.integers(1, 700), st.sampled_from(["first", "center", "energy", "windows"]))
@settings(deadline=None)
def test_silence_around_short_ones_and_parts_of_long_ones(frames, slice):
    whole = np.full((frames, 1), 1000, np.int16)
    found, notes = clip.clip(Recording(whole, RATE), options(slice=slice))
    there = np.flatnonzero(found[:, 0])
    assert found.shape == (FRAMES, 1)
    assert len(there) == min(frames, FRAMES)
    before, behind = there[0], FRAMES - 1 - there[-1]
    if slice in ("first", "windows"):
        assert before == 0
    else:
        assert behind - before in (0, 1)
    assert ("padded with silence" in notes) == (frames < FRAMES)
    assert any("cut" in note for note in notes) == (frames > FRAMES and slice != "windows")


@given(st.integers(0, 3000), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_the_loudest_part_holds_the_loudest_sound(place, seed):
    """Within a step of the search, which is a hundredth of a second."""
    sound = noise(4000, seed=seed, level=0.01)
    sound[place : place + FRAMES // 2] = noise(FRAMES // 2, seed=seed, level=0.3)
    start = clip.start_of(Recording(sound, RATE), options(slice="energy"), 0)
    assert start - RATE // 100 <= place
    assert place + FRAMES // 2 <= start + FRAMES + RATE // 100


@given(st.integers(1, 8), st.sampled_from([0, 1, 2]))
def test_channels(there, wanted):
    sound = noise(50, there).astype(np.float32)
    found = clip.mixed(sound, wanted)
    assert found.shape == (50, wanted or there)
    if wanted in (0, there):
        np.testing.assert_array_equal(found, sound)
    else:
        np.testing.assert_allclose(found, sound.mean(1, keepdims=True).repeat(wanted, 1), rtol=1e-6)


@given(st.floats(2e-4, 50), st.sampled_from(["peak", "rms"]), st.integers(0, 100))
def test_gain(level, gain, seed):
    """Loudness does not depend on how loud a recording is, and nothing is clipped."""
    wave = np.random.default_rng(seed).normal(size=(500, 1)).astype(np.float32)
    wave /= np.abs(wave).max()
    found, notes = clip.loud(level * wave, gain)
    np.testing.assert_allclose(found, clip.loud(wave, gain)[0], rtol=1e-4, atol=1e-6)
    peak, loudness = np.abs(found).max(), np.sqrt(np.square(found).mean())
    assert peak <= clip.PEAK * (1 + 1e-6)
    if gain == "peak" or notes:
        assert peak == pytest.approx(clip.PEAK, rel=1e-5)
    else:
        assert loudness == pytest.approx(clip.LOUDNESS, rel=1e-5)


def test_a_peak_that_does_not_fit_is_said():
    wave = np.zeros((1000, 1), np.float32)
    wave[10] = 0.5
    found, notes = clip.loud(wave, "rms")
    assert found.max() == pytest.approx(clip.PEAK)
    assert notes == ["less loud than the others, to fit"]
    assert clip.loud(3 * wave, "keep") == (pytest.approx(3 * wave), ["beyond full scale, clipped"])


def test_sixteen_bits_stay_as_they_are():
    every = np.arange(-32768, 32768, dtype=np.int16)[:, None]
    found, notes = clip.clip(Recording(every, RATE), options(seconds=len(every) / RATE))
    np.testing.assert_array_equal(found, every)
    assert notes == []
    assert clip.to_int16(np.array([-2.0, -1.0, 1.0, 2.0])).tolist() == [-32768, -32768, 32767, 32767]
