"""Damaged sound files are decoded or refused, in words, alone as in a batch."""

import resource
from random import Random

import numpy as np
import pytest
import torch

from ragdist.modalities.audio import dr_flac, in_memory
from ragdist.modalities.audio.foreign import describe, notes
from ragdist.modalities.audio.options import AudioIndexOptions
from ragdist.modalities.audio.training import decode, decode_all
from ragdist.modalities.base import Form
from tests.fuzz.damage import damaged
from tests.fuzz.refusal import check_words, decoded
from tests.sounds import FORMATS, RATE, RATES, encoded, member, tone, without_count

_ROUNDS = {"wav": 300, "flac": 400, "mp3": 150, "ogg": 60, "opus": 60}


def _originals(extension: str) -> list[bytes]:
    found = [member(extension, seed, 600, channels) for seed, channels in ((0, 1), (1, 2))]
    if extension == "wav":
        found += [encoded(tone(2, 600), "WAVEX"), encoded(tone(3, 600), subtype="FLOAT"), encoded(tone(4), "RF64")]
    if extension == "flac":
        found += [encoded(tone(2, 600), "FLAC", "PCM_24"), encoded(tone(3, 600, 6), "FLAC")]
    return [*found, without_count(found[0])] if extension == "mp3" else found


@pytest.mark.parametrize("extension", FORMATS)
def test_clips(rounds, extension):
    whole, rate = _originals(extension), RATES.get(extension, RATE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for random in rounds(_ROUNDS[extension]):
        data, form = damaged(random, whole), Form((random.choice((1, 2)), 512), {"rate": rate})
        found = decoded(decode, data, form)
        if found is not None:
            assert found.shape == form.shape
            both = decode_all([memoryview(data), memoryview(whole[0]), memoryview(data)], form)
            assert torch.equal(both[0], found)
            assert torch.equal(both[2], found)
        _check_describing(random, data)
        _check_decoders(memoryview(data), rate)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown:,} kB more than before"


def _check_decoders(data: memoryview, rate: int) -> None:
    """What both decoders of FLAC read is equal; what one alone reads gets into no index."""
    if data[:4] != b"fLaC" or (samples := dr_flac.flac(data, rate, 4096)) is None:
        return
    of_libsndfile = in_memory.flac(data, rate, 4096)
    if of_libsndfile is not None:
        assert np.array_equal(samples, of_libsndfile)
        return
    with pytest.raises(ValueError, match=r"\w"):
        notes(data, Form((1, 4096), {"rate": rate}))


def _check_describing(random: Random, data: bytes) -> None:
    """What is said of a file from its header takes no memory of its own, and fits an index."""
    try:
        form = describe(memoryview(data), AudioIndexOptions(random.choice((0, 0.1)), random.choice((0, 1, 2))))
        said = notes(memoryview(data), form)
    except ValueError as error:
        check_words(str(error))
        return
    assert min(form.shape) > 0
    assert form.spec["rate"] > 0
    assert all(said)
