"""Damaged recordings become clips or are refused, in words, whatever is made of them; and clips can be trained on."""

import io
import resource
from itertools import product
from random import Random

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="the extra 'audio' is not installed")
pytest.importorskip("soxr", reason="the extra 'audio' is not installed")
from ragdist.modalities.audio.making import encode, open_item, parts
from ragdist.modalities.audio.options import AudioOptions
from ragdist.modalities.audio.training import decode
from tests.data_in_the_wild.sounds import sound, tone
from tests.fuzz.damage import damaged
from tests.fuzz.refusal import check_words

_KINDS = {
    "wav": [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"),
        ("RF64", "PCM_16"),
    ],
    "flac": [("FLAC", "PCM_16"), ("FLAC", "PCM_24")],
}
_ROUNDS = {"wav": 800, "flac": 400}
_OPTIONS = [
    AudioOptions(rate=rate, seconds=0.1, slice=slice, channels=channels, gain=gain, format="wav")
    for rate, slice, channels, gain in product((4000, 5000), ("first", "center", "energy", "windows"), (0, 1, 2), ("keep", "rms"))
]  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
def test_recordings(rounds, kind):
    whole = [sound(*form, samples=tone(frames, channels=channels))
             for form in _KINDS[kind] for frames, channels in ((300, 1), (3000, 2))]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for random in rounds(_ROUNDS[kind]):
        _check(random, damaged(random, whole))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown:,} kB more than before"


def _check(random: Random, data: bytes) -> None:
    chosen = random.choice(_OPTIONS)
    try:
        with open_item(random.choice((bytes, io.BytesIO))(data)) as item:
            count = parts(chosen)(item) if chosen.slice == "windows" else 1
            found = encode(item, chosen, random.randrange(count))
    except ValueError as error:
        check_words(str(error))
        return
    assert count <= 2**16, "a header that says too much"
    assert found.shape[1] == 512
    decoded = decode(torch.from_numpy(np.frombuffer(found.data, np.uint8).copy()), found.form)
    assert decoded.shape == found.shape
