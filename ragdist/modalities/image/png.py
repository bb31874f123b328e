"""PNG files decoded without libpng, whose errors are jumps across callers' frames: of any bytes pixels or ValueError.

Every byte that pixels come from is covered by a checksum that is compared: chunks by their CRC, the pixels by zlib's
Adler-32. zlib inflates, never to more than the header's dimensions ask for. Pillow's PNG filters, in C, take scanlines
whose number and length are known to be right; those of many pictures in one call.

https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np
from PIL import Image

from ragdist.modalities.image.colour import grey_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}  # others: 8, 16
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of Pillow, by bytes a pixel
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_LAST_FILTER = 4  # of a scanline: Paeth's
_TOGETHER = 1 << 22  # bytes of scanlines in one call of Pillow
_HEAD, _CRC, _IHDR = struct.Struct(">I4s"), struct.Struct(">I"), struct.Struct(">IIBBBBB")
_SRGB_GAMMA = 45_455  # in 1/100,000; what the sRGB chunk stands for


class Header(NamedTuple):
    """The IHDR chunk of a PNG: what pictures that are unfiltered together have in common."""

    width: int
    height: int
    depth: int  # bits a channel, 1 to 16
    colour: int
    interlaced: bool

    @property
    def pixel(self) -> int:
        """The bytes of a pixel, 1 where several pixels share a byte."""
        return max(1, _CHANNELS[self.colour] * self.depth // 8)

    def row(self, width: int) -> int:
        """The bytes of a scanline of so many pixels, without its filter's."""
        return -(-width * _CHANNELS[self.colour] * self.depth // 8)

    def parts(self) -> Iterator[tuple[slice, slice, int, int]]:
        """(rows, columns, height, width) of the pictures that scanlines make up: one, or up to seven interlaced."""
        for top, left, down, right in _PASSES if self.interlaced else ((0, 0, 1, 1),):
            high, wide = -(-(self.height - top) // down), -(-(self.width - left) // right)
            if high > 0 and wide > 0:
                yield slice(top, None, down), slice(left, None, right), high, wide


class File(NamedTuple):
    """A PNG file taken apart: all that its pixels come from, checked."""

    header: Header
    scanlines: bytes  # each with its filter's byte in front; not yet unfiltered
    palette: bytes  # empty, or 3 bytes an entry
    transparency: bytes  # the tRNS chunk
    gamma: int  # in 1/100,000; 0: unknown

    @property
    def transparent(self) -> bool:
        """Whether pixels may be transparent."""
        return bool(self.transparency) or self.header.colour in (_GREY_ALPHA, _RGB_ALPHA)


def header_of(data: memoryview | bytes) -> tuple[Header, bool]:
    """The header of a PNG file, and whether pixels may be transparent. Raises ValueError for damage before them."""
    header, transparent = None, False
    for kind, content in _chunks(memoryview(data)):
        if kind == b"IDAT":
            break
        header = header or _header(kind, bytes(content))
        transparent = transparent or kind == b"tRNS"
    if header is None:
        raise ValueError("it is cut off")
    return header, transparent or header.colour in (_GREY_ALPHA, _RGB_ALPHA)


def open_file(data: memoryview | bytes, size: tuple[int, int]) -> File:
    """Take a PNG file apart and check it.

    Args:
        data: the file; what follows its pixels is not looked at.
        size: (height, width) that it must have.

    Raises:
        ValueError: it is damaged, no PNG, or of another size.
    """
    header, palette, transparency, gamma, room = None, b"", b"", 0, 0
    inflate, found = zlib.decompressobj(), []
    for kind, content in _chunks(memoryview(data)):
        if header is None:
            header = _header(kind, bytes(content))
            if size != (header.height, header.width):
                raise ValueError(f"it is {header.width}x{header.height} pixels, not {size[1]}x{size[0]}")
            room = 1 + _inflated_size(header)
        elif kind == b"IDAT":
            if header.colour == _PALETTE and not palette:
                raise ValueError("it has no palette")
            found.append(_inflated(inflate, content, room))
            room -= len(found[-1])
            if not room:
                raise ValueError("it holds more pixels than its header says")
            if inflate.eof:
                break
        elif found:
            break
        elif kind == b"IHDR":
            raise ValueError("it has two headers")
        elif kind == b"PLTE":
            palette = _palette(content)
        elif kind == b"tRNS":
            transparency = bytes(content)
        elif kind == b"gAMA" and len(content) == 4 and not gamma:
            gamma = int.from_bytes(content)
        elif kind == b"sRGB":
            gamma = _SRGB_GAMMA
    if not inflate.eof:
        raise ValueError("it is cut off")
    if room != 1:
        raise ValueError("it holds fewer pixels than its header says")
    scanlines = found[0] if len(found) == 1 else b"".join(found)
    _check_filters(header, scanlines)
    return File(header, scanlines, palette, transparency, gamma)


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of the chunks that pixels come from, up to IEND. Raises ValueError for a damaged one."""
    if data[:8] != SIGNATURE:
        raise ValueError("it is no PNG")
    at = 8
    while at + 12 <= len(data):
        size, kind = _HEAD.unpack_from(data, at)
        end = at + 8 + size
        if end + 4 > len(data):
            break
        if kind in _READ:
            if zlib.crc32(data[at + 4 : end]) == _CRC.unpack_from(data, end)[0]:
                yield kind, data[at + 8 : end]
            elif kind not in _GAMMAS:  # which libpng leaves out where they are damaged
                raise ValueError(f"it is damaged: the {kind.decode()} chunk's bytes do not match their CRC")
            if kind == b"IEND":
                return
        elif not kind[0] & 0x20:  # a critical chunk: pixels mean what it says
            name = kind.decode("ascii", "replace") if kind.isalpha() else kind.hex()
            raise ValueError(f"it is no PNG as the standard knows it: it has a chunk {name}")
        at = end + 4


_GAMMAS = frozenset((b"gAMA", b"sRGB"))
_READ = _GAMMAS | {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}


@lru_cache(64)
def _header(kind: bytes, content: bytes) -> Header:
    if kind != b"IHDR" or len(content) != _IHDR.size:
        raise ValueError("it is no PNG: it does not begin with a header")
    width, height, depth, colour, compression, filters, interlace = _IHDR.unpack(content)
    known = colour in _CHANNELS and depth in _DEPTHS.get(colour, (8, 16))
    if not known or compression or filters or interlace > 1 or not 0 < width < 2**31 or not 0 < height < 2**31:
        raise ValueError("its header is none of a PNG")
    return Header(width, height, depth, colour, bool(interlace))


@lru_cache(64)
def _inflated_size(header: Header) -> int:
    """The bytes of all scanlines with their filters'."""
    return sum(high * (1 + header.row(wide)) for _, _, high, wide in header.parts())


def _palette(content: memoryview) -> bytes:
    if not 0 < len(content) <= 768 or len(content) % 3:
        raise ValueError("its palette is none of a PNG")
    return bytes(content)


def _inflated(inflate: "zlib._Decompress", content: memoryview, room: int) -> bytes:
    try:
        return inflate.decompress(content, room)
    except zlib.error as error:
        raise ValueError(f"its pixels are damaged ({str(error).rpartition(': ')[2]})") from error


def _check_filters(header: Header, scanlines: bytes) -> None:
    at = 0
    for _, _, high, wide in header.parts():
        step = 1 + header.row(wide)
        if max(scanlines[at : at + high * step : step]) > _LAST_FILTER:
            raise ValueError("its pixels have a filter that there is none of")
        at += high * step


# Pixels.


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
    if header.colour == _RGB and channels == 3:
        yield samples
    elif header.colour == _GREY and channels < 4:
        yield samples if channels == 1 else np.repeat(samples, channels, 3)
    elif header.colour == _PALETTE and channels == 3:
        tables = np.frombuffer(b"".join([_filled(file.palette) for file in files]), np.uint8).reshape(-1, 3)
        first = np.arange(0, 256 * len(files), 256).reshape(-1, 1, 1)
        yield tables.take(samples[..., 0] + first, 0)
    else:
        for file, one in zip(files, samples, strict=True):
            yield _with_channels(file, one, channels)[None]


def _with_channels(file: File, samples: np.ndarray, channels: int) -> np.ndarray:
    colour = file.header.colour
    if colour == _PALETTE:
        samples = _table(file)[samples[:, :, 0]]
    if channels == 4:
        return _rgba(file, samples)
    if colour in (_GREY, _GREY_ALPHA):
        return np.repeat(samples[:, :, :1], channels, 2)
    return samples[:, :, :3] if channels == 3 else grey_of(samples[:, :, :3], file.gamma)


def _rgba(file: File, samples: np.ndarray) -> np.ndarray:
    if file.header.colour in (_PALETTE, _RGB_ALPHA):
        return samples
    alpha = samples[:, :, 1:] if file.header.colour == _GREY_ALPHA else _opaque(file, samples)
    colours = samples if file.header.colour == _RGB else np.repeat(samples[:, :, :1], 3, 2)
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
    channels = _CHANNELS[header.colour]
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
    return found * np.uint8(255 // top) if header.colour == _GREY else found
