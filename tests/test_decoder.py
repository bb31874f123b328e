"""The pixels of a payload are the same for ever, whichever library decodes it, alone or in a batch."""

import base64
import hashlib
import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ragdist.modalities.base import Form
from ragdist.modalities.image.training import decode, decode_all
from ragdist.modalities.image.webp import torchvision_operator
from tests.conftest import encoded

# Pictures of 8x8 as files, and the SHA-256 of their pixels as version 0.1.0 decoded them.
GOLDEN = {
    "4:2:0": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAaEAACAgMAAAAAAAAAAAAAAAAAAwYSAhFh/8QAFQEBAQAAAAAAAAAAAAAAAAAABAb/xAAdEQACAgEFAAAAAAAAAAAAAAACAwABMQQREyFh/9oADAMBAAIRAxEAPwCEikCHZ2RunQAUKFjpA4149zE05y+hO9p//9k=",
        "4fbc459857e6d14b",
        "d4358e9bcedab2b3",
    ),
    "4:2:2 progressive": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wgARCAAIAAgDASEAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAVAQEBAAAAAAAAAAAAAAAAAAADBP/aAAwDAQACEAMQAAABmvb/xAAWEAEBAQAAAAAAAAAAAAAAAAABBAD/2gAIAQEAAQUCooHf/8QAFxEAAwEAAAAAAAAAAAAAAAAAAAIDIf/aAAgBAwEBPwFL0TD/xAAZEQABBQAAAAAAAAAAAAAAAAACAAQREzH/2gAIAQIBAT8BbDUEFq//xAAVEAEBAAAAAAAAAAAAAAAAAAAAIf/aAAgBAQAGPwKP/8QAFxAAAwEAAAAAAAAAAAAAAAAAAAERMf/aAAgBAQABPyF3cn//2gAMAwEAAgADAAAAEN//xAAXEQEAAwAAAAAAAAAAAAAAAAABABFB/9oACAEDAQE/EBnFz//EABgRAAIDAAAAAAAAAAAAAAAAAAABESEx/9oACAECAQE/EIXdbP/EABYQAAMAAAAAAAAAAAAAAAAAAAAhcf/aAAgBAQABPxBlbP/Z",
        "4fbc459857e6d14b",
        "9302a20a9ff050a4",
    ),
    "grey": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABoQAAICAwAAAAAAAAAAAAAAAAMGABICEWH/2gAIAQEAAD8ABiYAGzsDdOz/2Q==",
        "4fbc459857e6d14b",
        "81aa7f01497266a8",
    ),
    "CMYK": (
        "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAUDg8SDw0UEhASFxUUGB4yIR4cHB49LC4kMklATEtHQEZFUFpzYlBVbVZFRmSIZW13e4GCgU5gjZeMfZZzfoF8/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAQCBv/EACIQAAEEAQIHAAAAAAAAAAAAAAQAAxESBQITBhUiMUFRYf/aAA4EQwBNAFkASwAAPwCslxCU0ZceuxHnvKHnsoEY3Vm0fU0JrWKVzDIRuxXp9LZr/9k=",
        "13b083687b94235d",
        "9e4c2cd9f3fee886",
    ),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_pixels(kind, channels):
    text, *digests = GOLDEN[kind]
    payload, form = memoryview(bytearray(base64.b64decode(text))), Form((channels, 8, 8))
    alone = decode(torch.frombuffer(payload, dtype=torch.uint8), form)
    batch = decode_all([payload] * 3, form)
    assert hashlib.sha256(alone.numpy().tobytes()).hexdigest()[:16] == digests[channels > 1]
    assert all(torch.equal(alone, one) for one in batch)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    options=st.fixed_dictionaries({
        "quality": st.integers(1, 100), "progressive": st.booleans(), "subsampling": st.sampled_from([0, 1, 2]),
        "restart_marker_blocks": st.integers(0, 3),
    }),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32 - 1),
    flipped=st.none() | st.tuples(st.integers(2, 10_000), st.integers(1, 255)),
    kept=st.floats(0.5, 1) | st.just(1),
)  # fmt: skip
def test_any_jpeg_has_the_pixels_of_torchvision_or_is_refused_by_it(size, mode, options, channels, seed, flipped, kept):
    """All are libjpeg-turbo, and damaged files and CMYK are read as torchvision did, when it read them."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(out, "jpeg", **options)
    payload = bytearray(out.getvalue())
    if flipped:
        payload[min(flipped[0], len(payload) - 1)] ^= flipped[1]
    payload = payload[: int(kept * len(payload))]
    data, shape = torch.frombuffer(payload, dtype=torch.uint8), (channels, size[1], size[0])
    try:
        expected = torchvision_operator("decode_image")(data, channels)
    except RuntimeError:
        expected = None
    if expected is None or expected.shape != shape:
        try:
            found = decode(data, Form(shape))
        except ValueError:
            return
        # Its last marker is damaged or not there, and that alone torchvision refuses; Pillow, which packs it, does not.
        picture = Image.open(io.BytesIO(payload))
        picture.draft("RGB" if channels == 3 else "L", None)
        expected = np.asarray(picture.convert("RGB" if channels == 3 else "L")).reshape(*shape[1:], channels)
        assert np.array_equal(found.permute(1, 2, 0), expected)
        return
    assert torch.equal(decode(data, Form(shape)), expected)
    assert torch.equal(decode_all([memoryview(payload)] * 2, Form(shape)), torch.stack([expected] * 2))


def test_decoding_warns_of_nothing():
    payload = memoryview(bytearray(base64.b64decode(GOLDEN["4:2:0"][0])))
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "png")
    webp = encoded(Image.new("RGB", (8, 8)), "webp")
    torchvision_operator.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_all([payload] * 2, Form((3, 8, 8)))
        decode_all([memoryview(out.getvalue())] * 2, Form((1, 8, 8)))
        decode_all([memoryview(webp)] * 2, Form((3, 8, 8)))
