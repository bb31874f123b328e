"""Parts of sound files: what is read of one does not depend on what was read before."""

import io

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="the extra 'audio' is not installed")
pytest.importorskip("soxr", reason="the extra 'audio' is not installed")
import soundfile

from ragdist.modalities.audio import clip, making, sound_file
from ragdist.modalities.audio.options import AudioOptions
from tests.sounds import encoded

RATE = 16_000
KINDS = [
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("FLAC", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "GSM610"),
    ("AU", "G721_32"),
    ("W64", "PCM_24"),
]


def changing(frames: int) -> np.ndarray:
    """Noise over a tone that swells and fades, so that lossy formats use few bits here and many there."""
    time = np.arange(frames)
    noise = np.random.default_rng(0).normal(size=frames) * 0.05 * (1 + np.sin(time / 3000))
    return (noise + 0.3 * np.sin(time * 0.17)).astype(np.float32)[:, None]


def straight(data: bytes) -> np.ndarray:
    """All frames as libsndfile reads them from the first to the last, without a seek."""
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]


@pytest.fixture(params=["held", "read again"])
def memory(request, monkeypatch):
    """Whether a file may be kept in memory that would be read from its beginning again."""
    if request.param != "held":
        monkeypatch.setattr(sound_file, "_MOST_HELD", 0)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_a_part_is_what_lies_there_in_the_whole(kind, subtype):
    """Also where libsndfile's seeks are inexact, as in Vorbis and Opus, or there are none, as in GSM."""
    data = encoded(changing(6 * RATE + 1), kind, subtype, RATE)
    whole, places = straight(data), np.random.default_rng(1)
    with sound_file.opened(data) as sound:
        sound.check_end()
        for start in [sound.frames - 700, sound.frames - 2, *places.integers(0, sound.frames - 3000, 12), 0]:
            count = min(2000, sound.frames - start)
            np.testing.assert_allclose(sound.read(start, count), whole[start : start + count], atol=1e-6)


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_a_part_has_the_same_bits_whatever_was_read_before(kind, subtype):
    data, starts = encoded(changing(3 * RATE), kind, subtype, RATE), range(0, 40_000, 3333)
    with sound_file.opened(data) as sound:
        found = {start: sound.read(start, 2000) for start in (*starts[::2], *reversed(starts))}
    for start in starts:
        with sound_file.opened(data) as sound:
            np.testing.assert_array_equal(sound.read(start, 2000), found[start])


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("slice", ["first", "center", "energy", "windows"])
def test_every_kind_of_file_is_cut_in_every_way(kind, subtype, slice):
    data = encoded(changing(RATE), kind, subtype, RATE)
    options = AudioOptions(rate=RATE, seconds=0.25, slice=slice, gain="keep", format="wav")
    number = 2 if slice == "windows" else 0
    with sound_file.opened(data) as sound:
        start = clip.start_of(sound, options, number)
        found = making.encode(sound, options, number)
    expected = clip.to_int16(straight(data)[start : start + 4096])
    assert np.abs(np.frombuffer(found.data, "<i2", 4096, 44) - expected[:, 0].astype(int)).max() <= 1


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_blocks_are_the_whole_and_reading_goes_on_behind_them(kind, subtype, monkeypatch):
    monkeypatch.setattr(sound_file, "BLOCK", 3000)
    data = encoded(changing(RATE), kind, subtype, RATE)
    whole = straight(data)
    with sound_file.opened(data) as sound:
        sound.read(500, 100)
        np.testing.assert_allclose(np.concatenate(list(sound.blocks())), whole, atol=1e-6)
        np.testing.assert_allclose(sound.read(500, 100), whole[500:600], atol=1e-6)
