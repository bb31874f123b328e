"""Damaged pictures are decoded or refused, in words, by one rule for what is packed and what is trained on."""

import resource

import numpy as np
import pytest
import torch

from ragdist.modalities.base import Form
from ragdist.modalities.image.making import encode, reading
from ragdist.modalities.image.options import ImageOptions
from ragdist.modalities.image.training import decode, decode_all
from tests.fuzz.damage import damaged
from tests.fuzz.pictures import SIDE, forged, originals
from tests.fuzz.refusal import check_words, decoded

_FORMS = [Form((3, SIDE, SIDE)), Form((1, SIDE, SIDE)), Form((3, SIDE, SIDE), {"background": "#00ff00"})]
_ROUNDS = {"png": 1500, "jpeg": 600, "webp": 600}


@pytest.mark.parametrize("kind", _ROUNDS)
def test_pixels(rounds, kind):
    whole = originals(kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for random in rounds(_ROUNDS[kind]):
        forge = kind == "png" and random.random() < 0.7
        data = forged(random, random.choice(whole)) if forge else damaged(random, whole)
        form = random.choice(_FORMS)
        found = decoded(decode, data, form)
        if found is not None:
            assert found.shape == form.shape
            both = decode_all([memoryview(data), memoryview(random.choice(whole[:1])), memoryview(data)], form)
            assert torch.equal(both[0], found)
            assert torch.equal(both[2], found)
        if random.random() < 0.3:
            _check_packing(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown:,} kB more than before"


def _check_packing(data: bytes) -> None:
    """What is packed can be trained on."""
    try:
        with reading():
            packed = encode(data, ImageOptions(max_pixels=10_000))
    except ValueError as error:
        check_words(str(error))
        return
    sample = decode(torch.from_numpy(np.frombuffer(packed.data, np.uint8).copy()), packed.form)
    assert sample.shape == packed.shape
