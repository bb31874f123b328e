"""Decoders of payloads, uint8 [n, height, width, channels]: JPEG by libjpeg-turbo, PNG by `png`, WebP by libwebp.

All are chosen for what they do with any bytes: pixels or an error, no more memory than the pixels take. So not
torchvision's for PNG and JPEG: after an error of libpng it goes on where its compiler took it for granted that there
was none, which ends the process.
"""

from collections.abc import Sequence

import numpy as np
from simplejpeg import decode_jpeg, decode_jpeg_header

from ragdist.modalities.base import Form
from ragdist.modalities.image import colour, converted, opened, png, png_pixels, webp
from ragdist.modalities.image.making import BACKGROUND, reading

_CONVERTED = ("Gray", "YCbCr", "RGB")  # colour spaces of JPEGs that libjpeg-turbo turns into pixels itself


def decode(payloads: Sequence[memoryview], form: Form) -> np.ndarray:
    """Decode payloads of this form: uint8 [n, height, width, channels].

    Raises:
        ValueError: one is no image, damaged, or of another size.
    """
    if (images := _jpegs(payloads, form.shape)) is not None:
        return images
    if all(payload[:8] == png.SIGNATURE for payload in payloads):
        return _pngs(payloads, form)
    images = np.empty((len(payloads), *form.shape[1:], form.shape[0]), np.uint8)
    for payload, image in zip(payloads, images, strict=True):
        image[:] = _decode(payload, form)
    return images


def _decode(payload: memoryview, form: Form) -> np.ndarray:
    """[height, width, channels] of a payload of any format."""
    if payload[:8] == png.SIGNATURE:
        return _pngs([payload], form)[0]
    if webp.is_webp(payload):
        return _webp(payload, form)
    if (images := _jpegs([payload], form.shape)) is not None:
        return images[0]
    return _by_pillow(bytes(payload), form)


def _jpegs(payloads: Sequence[memoryview], shape: tuple[int, ...]) -> np.ndarray | None:
    """Payloads that are JPEGs of this shape without a fault; None where one is anything else."""
    channels, height, width = shape
    colours = "GRAY" if channels == 1 else "RGB"
    images = np.empty((len(payloads), height, width, channels), np.uint8)
    for payload, image in zip(payloads, images, strict=True):
        if bytes(payload[:2]) != b"\xff\xd8":
            return None
        try:
            high, wide, kind, _ = decode_jpeg_header(payload)
            if (high, wide) != (height, width) or kind not in _CONVERTED:
                return None
            decode_jpeg(payload, colours, buffer=image)
        except ValueError:
            return None
    return images


def _pngs(payloads: Sequence[memoryview], form: Form) -> np.ndarray:
    channels, *size = form.shape
    files, background = [png.open_file(payload, tuple(size)) for payload in payloads], form.spec.get(BACKGROUND)
    if not background or not any(file.transparent for file in files):
        return png_pixels.pixels_of(files, channels)
    whole = (png_pixels.pixels_of([file], 4 if file.transparent else channels) for file in files)
    return np.concatenate([_composed(image, channels, background) for image in whole])


def _webp(payload: memoryview, form: Form) -> np.ndarray:
    channels, *size = form.shape
    header = webp.header_of(payload)
    opened.check_size((header.width, header.height), size)
    background = form.spec.get(BACKGROUND)
    if header.animated:
        raise ValueError("it is an animation")
    pixels_of = webp.pixels_of if webp.torchvision_operator("decode_webp") else _webp_by_pillow
    image = pixels_of(payload, 4 if background and header.transparent else 3)
    return _composed(image, channels, background)


def _webp_by_pillow(payload: memoryview, channels: int) -> np.ndarray:
    """The pixels of `webp.pixels_of`, in up to five times the time of a small image."""
    with reading():
        image = opened.look(bytes(payload))
        opened.load(image, bytes(payload))
    return np.asarray(image.convert("RGB" if channels == 3 else "RGBA"))


def _by_pillow(data: bytes, form: Form) -> np.ndarray:
    """What the others do not take: CMYK, JPEGs with small faults, as the writer of shards reads them, too."""
    channels, *size = form.shape
    mode, background = "L" if channels == 1 else "RGB", form.spec.get(BACKGROUND)
    with reading():
        image = opened.look(data, size=size)
        if image.format == "JPEG":
            image.draft(mode, None)  # grey is the luma that is stored
        opened.load(image, data)
    if background:
        image, _ = converted.flat(converted.eight_bits(image), channels == 1, colour.named(background))
    return np.asarray(image.convert(mode)).reshape(*size, channels)


def _composed(image: np.ndarray, channels: int, background: str | None) -> np.ndarray:
    """uint8 [..., 4 or ``channels`` or 3] -> [..., channels]; of 4, on a background."""
    if image.shape[-1] == 4:
        image = colour.over(image, colour.named(background))
    return image if image.shape[-1] == channels else colour.grey_of(image)
