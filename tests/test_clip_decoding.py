"""A payload becomes the samples that libsndfile reads, by whichever way they are read, or is refused."""

import io
import struct

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist.modalities.audio import clip, dr_flac, in_memory, sound_file
from ragdist.modalities.audio.training import decode, decode_all
from ragdist.modalities.base import Form
from tests.sounds import FORMATS, RATE, RATES, encoded, member, tone, without_count

# miniaudio is not everywhere
DECODERS = (in_memory, dr_flac) if dr_flac._library() else (in_memory,)


def form_of(channels: int = 1, frames: int = 1024, rate: int = RATE) -> Form:
    return Form((channels, frames), {"rate": rate})


def decoded(payload: bytes, form: Form) -> np.ndarray:
    """int16 [T, channels], decoded alone and in a batch."""
    alone = decode(torch.from_numpy(np.frombuffer(payload, np.uint8).copy()), form)
    batch = decode_all([memoryview(payload)] * 2, form)
    assert alone.dtype == torch.int16
    assert torch.equal(batch, torch.stack([alone, alone]))
    return alone.numpy().T


def by_soundfile(payload: bytes) -> np.ndarray:
    """int16 [frames, channels] of what has 16 bits or fewer."""
    return soundfile.read(io.BytesIO(payload), dtype="int16", always_2d=True)[0]


def by_the_rule(payload: bytes) -> np.ndarray:
    """Rounded to 16 bits, and clipped."""
    sound = soundfile.read(io.BytesIO(payload), dtype="float64", always_2d=True)[0]
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.tuples(st.integers(1, 40), st.integers(1, 8)),
    seed=st.integers(0, 2**32 - 1),
    extensible=st.booleans(),
    more=st.integers(0, 2),
    before=st.lists(st.sampled_from([b"LIST", b"fact", b"JUNK", b"bext"]), max_size=2),
    after=st.lists(st.sampled_from([b"LIST", b"id3 "]), max_size=1),
    odd=st.integers(0, 3),
    length_off=st.sampled_from([0, 0, 0, 0, 2, -1, 2**31]),
    frame_off=st.sampled_from([0, 0, 0, 0, 1, 2]),
)
def test_any_wav_of_16_bits_has_the_samples_that_libsndfile_reads(
    samples, seed, extensible, more, before, after, odd, length_off, frame_off
):
    values = np.random.default_rng(seed).integers(-32768, 32768, samples).astype("<i2")
    channels = samples[1]
    about = struct.pack("<HHIIHH", 0xFFFE if extensible else 1, channels, RATE, 2 * RATE * channels, 2 * channels, 16)
    if frame_off:
        about = about[:12] + struct.pack("<H", 2 * channels + frame_off) + about[14:]
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    about += struct.pack("<HHI", 22, 16, 0) + guid if extensible else bytes((0, 0, 2)[more])
    data = chunk(b"data", values.tobytes())
    data = data[:4] + struct.pack("<I", (struct.unpack("<I", data[4:8])[0] + length_off) % 2**32) + data[8:]
    parts = [chunk(b"fmt ", about), *(chunk(name, bytes(odd)) for name in before), data]
    body = b"WAVE" + b"".join([*parts, *(chunk(name, b"x" * odd) for name in after)])
    payload = b"RIFF" + struct.pack("<I", len(body)) + body
    try:
        expected = by_soundfile(payload)
    except RuntimeError:
        expected = None
    try:
        found = decoded(payload, form_of(channels, samples[0]))
    except ValueError:
        assert expected is None or length_off or frame_off, "only what contradicts itself is refused"
    else:
        assert expected is not None, "what libsndfile refuses is refused"
        padded = np.zeros(samples, np.int16)
        expected = expected[: samples[0]]
        if expected.shape[1] == channels:
            padded[: len(expected)] = expected
            assert np.array_equal(found, padded)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6000), st.integers(1, 8), st.integers(0, 2**32 - 1), st.sampled_from(["PCM_16", "PCM_S8"]))
def test_flac_has_the_samples_that_soundfile_reads(frames, channels, seed, subtype):
    payload = encoded(tone(seed, frames, channels, peak=1), "FLAC", subtype)
    expected, form = by_soundfile(payload), form_of(channels, frames)
    assert np.array_equal(decoded(payload, form), expected)
    for decoder in DECODERS:
        assert np.array_equal(decoder.flac(memoryview(payload), RATE, frames), expected), "read without soundfile"
    assert np.array_equal(decoded(payload, form_of(channels, max(frames // 2, 1))), expected[: max(frames // 2, 1)])


@pytest.mark.parametrize(("kind", "subtype"), [
    ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
    ("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("OGG", "VORBIS"), ("RF64", "PCM_16"),
])  # fmt: skip
@pytest.mark.parametrize("peak", [0.5, 1.5])
def test_what_has_not_16_bits_is_rounded_to_them_and_clipped(kind, subtype, peak):
    payload = encoded(tone(1, 1024, peak=peak), kind, subtype)
    found, expected = decoded(payload, form_of()), by_the_rule(payload)
    assert np.abs(found.astype(int) - expected).max() <= (1 if "VORBIS" in subtype else 0)
    assert np.abs(found.astype(int)).max() > 32768 * min(peak, 1) * 0.9, "and no silence"
    if peak > 1:
        assert np.abs(np.diff(found.astype(int), axis=0)).max() < 50_000, "nothing turns around at full scale"


def test_longer_clips_are_cut_shorter_ones_end_in_silence_and_channels_are_mixed():
    mono, stereo, many = tone(0, 100), tone(1, 100, 2), tone(2, 100, 6)
    for kind in ("WAV", "FLAC"):
        payloads = [memoryview(encoded(sound, kind)) for sound in (mono, stereo, many)]
        one, two, six = map(by_soundfile, payloads)
        cut = decode_all(payloads, form_of(1, 64)).numpy()
        assert np.array_equal(cut[0].T, one[:64])
        assert np.array_equal(cut[1, 0], np.rint(two[:64].mean(1)))
        assert np.array_equal(cut[2, 0], np.rint(six[:64].mean(1)))
        long = decode_all(payloads, form_of(2, 128)).numpy()
        assert np.array_equal(long[0, :, :100], np.repeat(one, 2, 1).T)
        assert np.array_equal(long[1, :, :100], two.T)
        assert np.array_equal(long[2, :, :100], np.repeat(np.rint(six.mean(1, keepdims=True)), 2, 1).T)
        assert not long[:, :, 100:].any()


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_a_payload_that_is_cut_off_is_refused(extension, share, capfd):
    whole = member(extension, frames=20_000)
    form = form_of(1, 32_768, RATES.get(extension, RATE))
    assert np.abs(decoded(whole, form)).max() > 8000
    with pytest.raises(ValueError, match=r"cut off|damaged|empty|no sound"):
        decoded(whole[: int(share * len(whole))], form)
    assert not capfd.readouterr().err, "no library warns of it, too"


@pytest.mark.parametrize("extension", FORMATS)
def test_another_rate_is_refused(extension):
    rate = RATES.get(extension, RATE)
    with pytest.raises(ValueError, match=rf"its rate is {rate:,} Hz, not 16,000"):
        decoded(member(extension), form_of(rate=16_000))


@pytest.mark.parametrize(("rate", "channels", "mode"), [
    (8000, 1, "VARIABLE"), (16_000, 2, "CONSTANT"), (22_050, 1, "VARIABLE"), (48_000, 1, "CONSTANT"), (44_100, 2, "VARIABLE"),
])  # fmt: skip
def test_an_mp3_that_does_not_count_its_frames_is_read_whole(rate, channels, mode, capfd):
    """Of these libsndfile reads a fifth, or takes the tag for sound."""
    out, tag = io.BytesIO(), b"ID3\x04\0\0\0\0\x07\x68" + bytes(1000)
    soundfile.write(out, tone(3, 3 * rate, channels), rate, format="MP3", bitrate_mode=mode, compression_level=0.6)
    whole = out.getvalue()
    for payload in (without_count(whole), tag + without_count(whole) + b"TAG" + bytes(125)):
        with sound_file.opened(payload) as sound:
            samples = sound.read(0, sound.frames)
        assert 0 <= len(samples) - 3 * rate < 4 * 1152
        assert np.abs(samples[-3 * 1152 :][:1152]).max() > 0.3, "it is heard to its end"
    with pytest.raises(ValueError, match="cut off: its last frame is not whole"), sound_file.opened(payload[:-150]):
        pass
    assert not capfd.readouterr().err


def test_what_is_beyond_numbers_is_refused():
    for bad in (np.nan, np.inf):
        sound = tone(0)
        sound[700] = bad
        with pytest.raises(ValueError, match="not finite"):
            decoded(encoded(sound, subtype="FLOAT"), form_of())


def test_a_flac_that_does_not_say_how_long_it_is_gets_advice():
    payload = bytearray(member("flac"))
    payload[21] &= 0xF0
    payload[22:26] = bytes(4)
    with pytest.raises(ValueError, match=r"does not say how long it is.*ffmpeg"):
        decoded(bytes(payload), form_of())


def test_flac_is_read_by_either_decoder_alone(monkeypatch):
    payloads = [member("flac", channels=channels) for channels in (1, 2)]
    expected = [decoded(payload, form_of(2)) for payload in payloads]
    monkeypatch.setattr(dr_flac, "_library", lambda: None)
    for payload, clip_of in zip(payloads, expected, strict=True):
        assert np.array_equal(decoded(payload, form_of(2)), clip_of)


def test_without_the_c_interface_flac_is_read_by_soundfile(monkeypatch):
    payload = member("flac", channels=2)
    expected = decoded(payload, form_of(2))
    monkeypatch.setattr(in_memory, "_of_thread", type("Fresh", (), {})())
    monkeypatch.delattr(soundfile, "_snd")
    assert in_memory.flac(memoryview(payload), RATE, 1024) is None
    monkeypatch.undo()
    with sound_file.opened(payload) as sound:
        assert np.array_equal(clip.to_int16(sound.read(0, 1024)), expected)
