"""One image on its way into a shard: sizes, depths, and bytes that are none."""

import contextlib
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ragdist.modalities.image.making import encode
from ragdist.modalities.image.options import ImageOptions
from tests.conftest import encoded, picture


def test_fit_pad_keeps_the_whole_image():
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    padded = np.asarray(Image.open(io.BytesIO(encode(encoded(wide, "png"), ImageOptions(size=20, fit="pad")).data)))
    assert padded.shape == (20, 20, 3)
    assert (padded[:5] == 0).all()
    assert (padded[5:15] == (255, 0, 0)).all()
    assert (padded[15:] == 0).all()
    cut = np.asarray(Image.open(io.BytesIO(encode(encoded(wide, "png"), ImageOptions(size=20)).data)))
    assert (cut == (255, 0, 0)).all()


def test_16_bits_become_8_by_scaling():
    grey = np.array([[0, 256, 40_000, 65_535]], np.uint16)
    result = encode(encoded(Image.fromarray(grey), "png"), ImageOptions())
    assert result.shape == (1, 1, 4)
    assert np.asarray(Image.open(io.BytesIO(result.data))).tolist() == [[0, 1, 156, 255]]


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["crop", "pad"]), st.sampled_from(["png", "jpeg"]))
def test_any_size_becomes_the_asked_one(width, height, fit, kind):
    result = encode(encoded(picture(0, (width, height)), kind), ImageOptions(size=16, fit=fit))
    assert result.shape == (3, 16, 16)
    assert Image.open(io.BytesIO(result.data)).size == (16, 16)


def test_a_large_jpeg_is_made_small_like_the_same_png():
    large = picture(3, (512, 512))
    small = [np.asarray(Image.open(io.BytesIO(encode(encoded(large, kind), ImageOptions(size=32)).data)), int)
             for kind in ("jpeg", "png")]  # fmt: skip
    assert np.abs(small[0] - small[1]).mean() < 2


@given(st.binary(max_size=300), st.integers(0, 299))
def test_any_bytes_are_an_image_or_a_bad_one(data, place):
    whole = encoded(picture(1), "png")
    damaged = whole[: place % len(whole)] + data + whole[place % len(whole) + len(data) :]
    for candidate in (data, damaged):
        with contextlib.suppress(ValueError):
            assert encode(candidate, ImageOptions(size=8)).shape[1:] == (8, 8)
