"""Pixels of PNG files whose scanlines are known to be right: unfiltered by Pillow, in C, many pictures in one call."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from PIL import Image

from ragdist.modalities.image.colour import grey_of
from ragdist.modalities.image.png import CHANNELS, GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, File, Header

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of Pillow, by bytes a pixel
_TOGETHER = 1 << 22  # bytes of scanlines in one call of Pillow


def pixels_of(files: Sequence[File], channels: int) -> np.ndarray:
    """Decode files of one size: uint8 [n, height, width, channels].

    Args:
        files: of one height and width.
        channels: 1: grey, 3: RGB, both without regard to transparency; 4: RGB and alpha.

    Raises:
        ValueError: they have 16 bits a channel.
    """
    parts = []
    if any(file.header.depth == 16 for file in files):
        raise ValueError("it has 16 bits a channel, not 8")
    for header, same in groupby(files, lambda file: file.header):
        run = list(same)
        step = max(1, _TOGETHER // len(run[0].scanlines))
        for first in range(0, len(run), step):
            parts += _coloured(header, run[first : first + step], channels)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _coloured(header: Header, files: list[File], channels: int) -> Iterator[np.ndarray]:
    """[n, height, width, channels] of files with one header, in parts."""
    samples = _samples(header, [file.scanlines for file in files])
    if header.colour == RGB and channels == 3:
        yield samples
    elif header.colour == GREY and channels < 4:
        yield samples if channels == 1 else np.repeat(samples, channels, 3)
    elif header.colour == PALETTE and channels == 3:
        tables = np.frombuffer(b"".join([_filled(file.palette) for file in files]), np.uint8).reshape(-1, 3)
        first = np.arange(0, 256 * len(files), 256).reshape(-1, 1, 1)
        yield tables.take(samples[..., 0] + first, 0)
    else:
        for file, one in zip(files, samples, strict=True):
            yield _with_channels(file, one, channels)[None]


def _with_channels(file: File, samples: np.ndarray, channels: int) -> np.ndarray:
    colour = file.header.colour
    if colour == PALETTE:
        samples = _table(file)[samples[:, :, 0]]
    if channels == 4:
        return _rgba(file, samples)
    if colour in (GREY, GREY_ALPHA):
        return np.repeat(samples[:, :, :1], channels, 2)
    return samples[:, :, :3] if channels == 3 else grey_of(samples[:, :, :3], file.gamma)


def _rgba(file: File, samples: np.ndarray) -> np.ndarray:
    if file.header.colour in (PALETTE, RGB_ALPHA):
        return samples
    alpha = samples[:, :, 1:] if file.header.colour == GREY_ALPHA else _opaque(file, samples)
    colours = samples if file.header.colour == RGB else np.repeat(samples[:, :, :1], 3, 2)
    return np.concatenate((colours, alpha), 2)


def _opaque(file: File, samples: np.ndarray) -> np.ndarray:
    """Alpha of a picture that may have one transparent colour, in the file's own depth: uint8 [height, width, 1]."""
    channels = samples.shape[2]
    if not file.transparency:
        return np.full((*samples.shape[:2], 1), 255, np.uint8)
    if len(file.transparency) != 2 * channels:
        raise ValueError("its transparent colour is none of a PNG")
    key = np.frombuffer(file.transparency, ">u2").astype(np.int64)
    top = (1 << file.header.depth) - 1
    return np.where((samples == (key & top) * 255 // top).all(2, keepdims=True), 0, 255).astype(np.uint8)


def _table(file: File) -> np.ndarray:
    """The palette as uint8 [256, 4]."""
    colours = np.frombuffer(_filled(file.palette), np.uint8).reshape(256, 3)
    alpha = np.frombuffer(file.transparency[:256].ljust(256, b"\xff"), np.uint8)
    return np.concatenate((colours, alpha[:, None]), 1)


def _filled(palette: bytes) -> bytes:
    return palette.ljust(768, b"\0")  # black, as libpng has it, for what has no entry


def _samples(header: Header, files: Sequence[bytes]) -> np.ndarray:
    """Scanlines of n files -> the channels as stored, uint8 [n, height, width, channels]; grey ones from 0 to 255."""
    channels = CHANNELS[header.colour]
    whole = np.empty((len(files), header.height, header.width, channels), np.uint8) if header.interlaced else None
    at = 0
    for rows, columns, high, wide in header.parts():
        size = high * (1 + header.row(wide))
        lines = [file[at : at + size] for file in files] if header.interlaced else files
        at += size
        found = _unfiltered(header, lines, high, header.row(wide))
        found = found[:, :, : wide * channels].reshape(len(files), high, wide, channels)
        if whole is None:
            return found
        whole[:, rows, columns] = found
    return whole


def _unfiltered(header: Header, files: Sequence[bytes], height: int, row: int) -> np.ndarray:
    """Scanlines of n pictures -> their bytes [n, height, row], or single pixels where several share a byte."""
    # One tall picture: a line of zeros below each, so that filters of the next one's first line see none above it.
    lines = bytes(1 + row).join([*files, b""])
    mode, size = _MODES[header.pixel], (row // header.pixel, len(files) * (height + 1))
    flat = Image.frombytes(mode, size, zlib.compress(lines, 0), "zip", mode).tobytes()
    found = np.frombuffer(flat, np.uint8).reshape(len(files), height + 1, row)[:, :height]
    return found if header.depth >= 8 else _unpacked(header, found)


def _unpacked(header: Header, packed: np.ndarray) -> np.ndarray:
    """Pixels of 1, 2 or 4 bits -> bytes [..., pixels]; grey scaled to 0 to 255."""
    shifts = np.arange(8 - header.depth, -1, -header.depth, dtype=np.uint8)
    top = (1 << header.depth) - 1
    found = (packed[..., None] >> shifts & top).reshape(*packed.shape[:-1], -1)
    return found * np.uint8(255 // top) if header.colour == GREY else found
