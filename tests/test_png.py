"""PNG: any valid file has the pixels that libpng gives, and alpha is composed where a form says a colour."""

import io
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ragdist.modalities.base import Form
from ragdist.modalities.image import png, png_pixels, webp
from ragdist.modalities.image.training import decode, decode_all
from tests.conftest import encoded
from tests.fuzz.pictures import joined

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (2, 8), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (6, 8)]  # with bits a channel
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def file(kind, size, interlaced, more, entries, parts, seed) -> bytes:
    """A PNG of random scanlines, filters and palette, its pixels in so many chunks."""
    (colour, depth), (width, height), noise, lines = kind, size, np.random.default_rng(seed), b""
    for top, left, down, right in PASSES if interlaced else ((0, 0, 1, 1),):
        row = -(-len(range(left, width, right)) * CHANNELS[colour] * depth // 8)
        for _ in range(top, height if row else 0, down):
            lines += bytes([noise.integers(0, 5)]) + noise.bytes(row)
    stream = zlib.compress(lines)
    cuts = sorted([0, len(stream), *noise.integers(0, len(stream), parts - 1)])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = [(b"PLTE", noise.bytes(3 * min(entries, 1 << depth)))] if colour == 3 else []
    pixels = [(b"IDAT", stream[a:b]) for a, b in pairwise(cuts)]
    return joined([(b"IHDR", header), *more, *palette, *pixels, (b"IEND", b"")])


GAMMAS = [[], [(b"gAMA", struct.pack(">I", 45_455))], [(b"gAMA", struct.pack(">I", 98_000))], [(b"sRGB", b"\0")]]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS), st.tuples(st.integers(1, 20), st.integers(1, 20)), st.booleans(), st.sampled_from(GAMMAS),
    st.integers(1, 256), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([1, 3]),
)  # fmt: skip
def test_any_png_has_the_pixels_of_libpng(kind, size, interlaced, more, entries, parts, seed, channels):
    if (libpng := webp.torchvision_operator("decode_image")) is None:
        pytest.skip("this torchvision decodes no images")
    payloads = [bytearray(file(kind, size, interlaced, more, entries, parts, seed + k)) for k in range(3)]
    form = Form((channels, size[1], size[0]))
    expected = [libpng(torch.frombuffer(payload, dtype=torch.uint8), channels) for payload in payloads]
    assert torch.equal(decode_all([memoryview(payload) for payload in payloads], form), torch.stack(expected))


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(KINDS), st.tuples(st.integers(1, 20), st.integers(1, 20)), st.booleans(), st.binary(max_size=5),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_alpha_is_that_of_pillow(kind, size, interlaced, alpha, seed):
    content = b""
    if kind[0] == 3:
        content = alpha
    elif kind[0] in (0, 2) and kind[1] not in (2, 4):  # of which Pillow takes the transparent value for one of 8 bits
        content = b"".join(
            bytes([0, value & (1 << kind[1]) - 1]) for value in alpha.ljust(3, b"\1")[: CHANNELS[kind[0]]]
        )
    data = file(kind, size, interlaced, [], 256, 1, seed)
    if content:
        at = data.index(b"IDAT") - 4
        data = data[:at] + joined([(b"tRNS", content)])[8:] + data[at:]
    found = png_pixels.pixels_of([png.open_file(data, size[::-1])], 4)[0]
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_alpha_is_left_out_unless_the_form_says_what_is_below(kind):
    """Indexes without a background are those of opaque images, and those of versions that left alpha out."""
    picture = np.full((4, 4, 4), (200, 100, 50, 0), np.uint8)
    picture[:, :2, 3] = 255
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **({"lossless": True, "exact": True} if kind == "webp" else {}))
    data = torch.frombuffer(bytearray(out.getvalue()), dtype=torch.uint8)
    assert decode(data, Form((3, 4, 4))).amin((1, 2)).tolist() == [200, 100, 50]
    left, right = decode(data, Form((3, 4, 4), {"background": "#0000ff"}))[:, 0, ::3].T.tolist()
    assert (left, right) == ([200, 100, 50], [0, 0, 255])


def test_webp_is_decoded_without_torchvision_too(monkeypatch):
    data = memoryview(encoded(Image.effect_noise((9, 7), 80).convert("RGB"), "webp"))
    expected = decode_all([data], Form((3, 7, 9)))
    monkeypatch.setattr(webp, "torchvision_operator", lambda name: None)
    assert torch.equal(decode_all([data], Form((3, 7, 9))), expected)
