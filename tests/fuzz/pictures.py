"""Pictures to damage, and damage that their formats' checksums do not tell."""

import io
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image

from tests.fuzz.damage import damaged

SIDE = 24
_KINDS = {
    "png": [
        ("RGB", {}), ("L", {}), ("RGBA", {}), ("LA", {}), ("P", {}), ("P", {"transparency": 3}), ("1", {}), ("I;16", {}),
        ("RGB", {"transparency": (1, 2, 3)}), ("P", {"bits": 2}),
    ],
    "jpeg": [
        ("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}), ("RGB", {"restart_marker_blocks": 2}),
        ("RGB", {"subsampling": 1, "quality": 20}),
    ],
    "webp": [("RGB", {}), ("RGBA", {}), ("RGB", {"lossless": True}), ("RGBA", {"lossless": True, "exact": True})],
}  # fmt: skip


def originals(kind: str) -> list[bytes]:
    """Pictures of SIDE x SIDE, small files of every variety of a format."""
    noise = np.random.default_rng(0)
    found = []
    for mode, options in _KINDS[kind]:
        small = noise.integers(0, 256, (6, 6, 4), dtype=np.uint8)
        picture, out = Image.fromarray(small, "RGBA").resize((SIDE, SIDE), Image.Resampling.BICUBIC), io.BytesIO()
        picture = picture.convert("L") if mode == "I;16" else picture if mode == "RGBA" else picture.convert("RGB")
        picture.convert(mode).save(out, kind, **options)
        found.append(out.getvalue())
    return [*found, _interlaced(noise)] if kind == "png" else found


def _interlaced(noise: np.random.Generator) -> bytes:
    """An interlaced PNG, which Pillow does not write, as its own chunks."""
    lines = b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        for _ in range(top, SIDE, down):
            lines += bytes([noise.integers(0, 5)]) + noise.bytes(3 * len(range(left, SIDE, right)))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 1)
    return joined([(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")])


def joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with the CRCs that they must have."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in chunks:
        parts.append(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    return b"".join(parts)


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a whole PNG."""
    found, at = [], 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


_EXTRA = (
    (b"PLTE", bytes(range(9))), (b"PLTE", bytes(7)), (b"tRNS", bytes(2)), (b"tRNS", bytes(300)), (b"gAMA", bytes(4)),
    (b"gAMA", struct.pack(">I", 45_455)), (b"sRGB", b"\0"), (b"iCCP", b"x\0\0" + zlib.compress(bytes(200))),
    (b"eXIf", b"MM\0*" + bytes(8)), (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", bytes(26)), (b"fdAT", bytes(9)),
    (b"zTXt", b"k\0\0" + zlib.compress(bytes(9999))), (b"ABCD", b""), (b"CgBI", bytes(4)), (b"IDAT", b""), (b"IEND", b""),
)  # fmt: skip


def forged(random: Random, data: bytes) -> bytes:
    """A PNG of which chunks are lost, doubled, swapped, added or changed, and every CRC is right."""
    chunks = chunks_of(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        place = random.randrange(len(chunks))
        kind, content = chunks[place]
        action = random.randrange(6)
        if action == 0 and len(chunks) > 1:
            del chunks[place]
        elif action == 1:
            chunks.insert(place, chunks[random.randrange(len(chunks))])
        elif action == 2:
            chunks.insert(place, random.choice(_EXTRA))
        elif action == 3 and kind == b"IHDR" and len(content) == 13:
            fields = list(struct.unpack(">IIBBBBB", content))
            fields[random.randrange(7)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, SIDE, SIDE + 1, 255))
            chunks[place] = (kind, struct.pack(">IIBBBBB", *fields))
        elif action == 4 and kind == b"IDAT":
            chunks[place] = (kind, _scanlines(random, content))
        elif content:
            chunks[place] = (kind, damaged(random, [content]))
    return joined(chunks)


def _scanlines(random: Random, content: bytes) -> bytes:
    """Another stream of pixels: other filters, more or fewer bytes, another checksum, in an order of its own."""
    try:
        lines = zlib.decompress(content)
    except zlib.error:
        return content
    lines = damaged(random, [lines]) if lines else b"\5"
    stream = bytearray(zlib.compress(lines, random.randrange(10)))
    if random.random() < 0.3:
        stream[-1 - random.randrange(4)] ^= 1 << random.randrange(8)
    return bytes(stream)
