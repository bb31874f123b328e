"""PNG files decoded without libpng, whose errors are jumps across callers' frames: of any bytes pixels or ValueError.

Every byte that pixels come from is covered by a checksum that is compared: chunks by their CRC, the pixels by zlib's
Adler-32. zlib inflates, never to more than the header's dimensions ask for. Pillow's PNG filters, in C, take scanlines
whose number and length are known to be right; those of many pictures in one call.

https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_DEPTHS = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}  # others: 8, 16
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_LAST_FILTER = 4  # of a scanline: Paeth's
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
        return max(1, CHANNELS[self.colour] * self.depth // 8)

    def row(self, width: int) -> int:
        """The bytes of a scanline of so many pixels, without its filter's."""
        return -(-width * CHANNELS[self.colour] * self.depth // 8)

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
        return bool(self.transparency) or self.header.colour in (GREY_ALPHA, RGB_ALPHA)


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
    return header, transparent or header.colour in (GREY_ALPHA, RGB_ALPHA)


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
            if header.colour == PALETTE and not palette:
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
    known = colour in CHANNELS and depth in _DEPTHS.get(colour, (8, 16))
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
