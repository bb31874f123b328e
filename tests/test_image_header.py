"""Headers of image files: dimensions and colour, without unpacking a pixel."""

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragdist.modalities.base import Form
from ragdist.modalities.image.header import GRAY, RGB, shape_of
from ragdist.modalities.image.training import decode

# Colour modes that a format has, and the channels of samples.
MODES = {"1": GRAY, "L": GRAY, "LA": GRAY, "I;16": GRAY, "RGB": RGB, "RGBA": RGB, "P": RGB, "CMYK": RGB}
KINDS = {"png": ("1", "L", "LA", "I;16", "RGB", "RGBA", "P"), "jpeg": ("L", "RGB", "CMYK"), "webp": ("RGB", "RGBA")}


def picture(kind: str, mode: str, size: tuple[int, int], **more) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, kind, **more)
    return out.getvalue()


@given(
    st.sampled_from([(kind, mode) for kind, modes in KINDS.items() for mode in modes]),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_the_shape_is_that_of_the_picture(kind_and_mode, size):
    kind, mode = kind_and_mode
    data = picture(kind, mode, size)
    shape = shape_of(data)
    assert shape == (MODES[mode], size[1], size[0])
    assert shape_of(memoryview(data)) == shape_of(np.frombuffer(data, np.uint8)) == shape
    if mode != "I;16":  # which is no sample
        assert decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), Form(shape)).shape == shape


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pixels_need_not_be_there(kind):
    """A file that is cut off behind its header."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    assert shape_of(out.getvalue()[:800]) == (3, 64, 48)


def test_more_pixels_than_memory_holds_are_refused_by_the_header():
    large = picture("png", "1", (16_000, 6_000))
    with pytest.raises(ValueError, match="exceeds limit of"):
        shape_of(large)
    assert shape_of(large, 96_000_000) == (1, 6_000, 16_000)
    small = bytearray(picture("jpeg", "L", (8, 8)))
    frame = small.index(b"\xff\xc0") + 5  # height and width
    assert shape_of(small) == (1, 8, 8)
    small[frame : frame + 4] = (6_000).to_bytes(2) + (16_000).to_bytes(2)
    with pytest.raises(ValueError, match="exceeds limit of"):
        shape_of(small)


@given(st.binary(max_size=200), st.integers(0, 10**6), st.sampled_from(["png", "jpeg", "webp"]))
def test_any_bytes_have_a_shape_or_are_no_image(data, place, kind):
    whole = picture(kind, "RGB", (9, 7))
    place %= len(whole)
    damaged = whole[:place] + data + whole[place + len(data) :]
    for candidate in (data, damaged, whole[:place]):
        with contextlib.suppress(ValueError):
            channels, height, width = shape_of(candidate)
            assert channels in (GRAY, RGB)
            assert height > 0
            assert width > 0


@pytest.mark.parametrize("data", [b"", b"\xff\xd8 and no more of a JPEG", b"words"])
def test_what_is_no_image_is_said_without_an_address(data):
    with pytest.raises(ValueError, match=r"^it is no image$"):
        shape_of(data)
