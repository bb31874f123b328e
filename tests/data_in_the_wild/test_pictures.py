"""Pictures of every kind become the colours that people see in them, or are refused."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data_in_the_wild.cases import Case, check
from tests.fuzz.pictures import chunks_of, joined

RED, ORANGE = (255, 0, 0), (200, 100, 50)


def plain(name: str, mode: str, colour, **options):
    """Makes one picture of 8x8 in one colour, a file of this name."""

    def make(folder: Path) -> Path:
        Image.new(mode, (8, 8), colour).save(folder / name, **options)
        return folder

    return make


def png(mode: str = "RGB", colour=ORANGE, size: tuple[int, int] = (8, 8), **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "png", **options)
    return out.getvalue()


def frames(kind: str):
    """Makes one file with three frames or pages, the first of which is orange."""
    rest = [Image.new("RGB", (8, 8), colour) for colour in ("lime", "navy")]
    return plain(f"a.{kind}", "RGB", ORANGE, save_all=True, append_images=rest)


def files(**contents: bytes):
    """Makes files of these contents; ``a_png`` is called a.png."""

    def make(folder: Path) -> Path:
        for name, content in contents.items():
            (folder / name.replace("_", ".")).write_bytes(content)
        return folder

    return make


def shard(*contents: bytes):
    """Makes a shard of these payloads, all PNG."""

    def make(folder: Path) -> Path:
        with tarfile.open(folder / "0.tar", "w") as tar:
            for number, content in enumerate(contents):
                member = tarfile.TarInfo(f"{number:04d}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return folder / "0.tar"

    return make


def palette(*alpha: int) -> bytes:
    """A PNG of 8x8 whose only colour is red, number 1, with the alpha of these numbers."""
    picture, out = Image.new("P", (8, 8), 1), io.BytesIO()
    picture.putpalette([0, 0, 0, *RED])
    picture.save(out, "png", **({"transparency": bytes(alpha)} if alpha else {}))
    return out.getvalue()


def noisy() -> bytes:
    """A PNG whose pixels fill several hundred bytes."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(out, "png")
    return out.getvalue()


def flipped(data: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def repacked(change) -> bytes:
    """A PNG whose stream of pixels is changed, and whose CRCs are right."""
    return joined([(kind, change(content) if kind == b"IDAT" else content) for kind, content in chunks_of(noisy())])


def tiff(values: np.ndarray, bits: int, photometric: int = 1) -> bytes:
    """A TIFF of grey in so many bits, as microscopes write them; ``photometric`` 0: white is zero."""
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        body = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    else:
        body = values.tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(body)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    where = 8 + len(body) + len(body) % 2
    return b"II*\0" + struct.pack("<I", where) + body.ljust(where - 8, b"\0") + struct.pack("<H", len(tags)) + entries + bytes(4)  # fmt: skip


def index(name: str, *contents: bytes, options=(), **what) -> Case:
    return Case(name, shard(*contents), index=True, options=options, **what)


COMPOSED = r"(?m)^transparent parts composed on \S+ \(--background\): 1 of 1$"

FOUR_BITS = joined([
    (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 4, 0, 0, 0, 0)), (b"tRNS", b"\0\5"), (b"IDAT", zlib.compress(b"\0\x55\x55\x55\x55" * 8)), (b"IEND", b""),
])  # fmt: skip

# A file of its own, and a sample of a shard.
BOTH = (("", lambda name, data, **what: Case(name, files(a_png=data), **what)), (" in a shard", index))

CASES = [
    Case("RGB in a PNG", plain("a.png", "RGB", ORANGE), taken={None: 1}, colours=[ORANGE], never=["composed"]),
    Case("a picture called .txt", plain("a.txt", "RGB", 0, format="png"), refused="a.txt cannot be read as a text .it is no text in UTF-8"),
    Case("a pointer of Git LFS", files(a_png=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), refused="a.png .*git lfs pull"),
    Case("a page of the web", files(a_png=b"<!DOCTYPE html>\n<html>"), refused="a.png .*page of the web"),
    # Of several frames or pages the first is read, which is said.
    *(Case(f"an animated {kind}", frames(kind), taken={None: 1}, colours=[ORANGE], within=2, says=[r"(?m)^the first of several frames or pages is read: 1 of 1$"]) for kind in ("gif", "png", "webp", "tiff")),
    Case("a still GIF", plain("a.gif", "RGB", ORANGE), taken={None: 1}, colours=[ORANGE], within=2, never=["frames"]),
    # What is opaque stays as it is, what is transparent shows the background.
    Case("RGBA", plain("a.png", "RGBA", (*ORANGE, 0)), taken={None: 1}, colours=[(255,) * 3], says=[COMPOSED]),
    Case("opaque RGBA", plain("a.png", "RGBA", (*ORANGE, 255)), taken={None: 1}, colours=[ORANGE], never=["composed"]),
    Case("half transparent WebP", plain("a.webp", "RGBA", (*ORANGE, 128), lossless=True), taken={None: 1}, colours=[(227, 177, 152)], says=[COMPOSED]),
    Case("on black", plain("a.png", "RGBA", (*ORANGE, 0)), taken={None: 1}, colours=[(0,) * 3], says=[COMPOSED], options=["--background", "black"]),
    Case("on nothing", plain("a.png", "RGB", 0), refused="--background nothing: give a colour", options=["--background", "nothing"]),
    Case("grey with alpha", plain("a.png", "LA", (9, 0)), taken={None: 1}, colours=[(255,)], says=[COMPOSED]),
    Case("a transparent number of a palette", files(a_png=palette(255, 0)), taken={None: 1}, colours=[(255,) * 3], says=[COMPOSED]),
    Case("a transparent colour", files(a_png=png(transparency=ORANGE)), taken={None: 1}, colours=[(255,) * 3], says=[COMPOSED]),
    Case("a transparent GIF", plain("a.gif", "P", 1, transparency=1), taken={None: 1}, colours=[(255,) * 3], says=[COMPOSED]),
    index("RGBA in a shard", png("RGBA", (*ORANGE, 0)), taken={None: 1}, colours=[(255,) * 3], says=[COMPOSED]),
    index("RGBA in a shard on a colour", png("RGBA", (*ORANGE, 0)), taken={None: 1}, colours=[(0, 0, 128)], options=["--background", "navy"]),
    index("opaque RGBA in a shard", png("RGBA", (*ORANGE, 255)), taken={None: 1}, colours=[ORANGE], never=["composed"]),
    index("a transparent number of a palette in a shard", palette(255, 0), taken={None: 1}, colours=[(255,) * 3], says=[COMPOSED]),
    index("only the second is transparent", png(), png("RGBA", (0, 0, 0, 0)), taken={None: 2}, colours=[ORANGE, (255,) * 3], says=["1 of 2"]),
    *(make(f"grey of 4 bits with a transparent value{where}", FOUR_BITS, taken={None: 1}, colours=[(255,)], says=[COMPOSED]) for where, make in BOTH),
    # Colours and depths.
    Case("grey of 16 bits", plain("a.png", "I;16", 51_400), taken={None: 1}, colours=[(200,)]),
    Case("grey of 16 bits with a transparent value", files(a_png=png("I;16", 400, transparency=400)), taken={None: 1}, colours=[(255,)], says=[COMPOSED]),
    Case("a TIFF of 16 bits", files(a_tif=tiff(np.full((8, 8), 51_400, "<u2"), 16)), taken={None: 1}, colours=[(200,)]),
    Case("a TIFF of 12 bits", files(a_tif=tiff(np.full((8, 8), 3_200), 12)), taken={None: 1}, colours=[(200,)]),
    Case("a TIFF of 16 bits, white is zero", files(a_tif=tiff(np.full((8, 8), 51_400, "<u2"), 16, 0)), taken={None: 1}, colours=[(55,)]),
    Case("a TIFF of floats", plain("a.tif", "F", 0.5), refused="a.tif cannot be read.*floating-point.*uint8"),
    Case("a TIFF of 32 bits", plain("a.tif", "I", 70_000), refused="a.tif cannot be read.*long integers.*uint8"),
    Case("a TIFF of CMYK", plain("a.tif", "CMYK", (0, 255, 255, 0)), taken={None: 1}, colours=[RED]),
    Case("a TIFF of LAB", plain("a.tif", "LAB", (136, 208, 195)), taken={None: 1}, colours=[RED], within=12),
    Case("a JPEG of CMYK", plain("a.jpg", "CMYK", (0, 255, 255, 0)), taken={None: 1}, colours=[RED], within=2),
    Case("a palette", files(a_png=palette()), taken={None: 1}, colours=[RED]),
    Case("black and white", plain("a.png", "1", 1), taken={None: 1}, colours=[(255,)]),
    # Names and kinds.
    *(Case(f"a {ending}", plain(f"a{ending}", "RGB", ORANGE, format="jpeg"), taken={None: 1}, colours=[ORANGE], within=3) for ending in (".jfif", ".jpe", ".JPG")),
    Case("a .tga", plain("a.tga", "RGB", ORANGE), taken={None: 1}, colours=[ORANGE]),
    Case("a .jp2", plain("a.jp2", "RGB", ORANGE), taken={None: 1}, colours=[ORANGE]),
    Case("a .heic", files(a_heic=b"\0\0\0\x18ftypheic" + bytes(90)), refused=r"no images that can be read: 1 \.heic.*convert"),
    Case("a HEIC called .jpg", files(a_jpg=b"\0\0\0\x18ftypheic" + bytes(90)), refused=r"another kind \(HEIC\).*convert"),
    Case("PostScript called .png", files(a_png=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"), refused="PostScript"),
    Case("words called .png", files(a_png=b"words"), refused="it is no image"),
    # Sizes.
    Case("too many pixels", files(a_png=png(size=(40, 40))), refused="40x40 pixels.*--max_pixels", options=["--max_pixels", "1000"]),
    Case("more pixels allowed", files(a_png=png(size=(40, 40))), taken={None: 1}, colours=[ORANGE], options=["--max_pixels", "1600"]),
    Case("a large photograph made small", plain("a.jpg", "RGB", ORANGE), taken={None: 1}, colours=[ORANGE], within=3, options=["--size", "4", "--max_pixels", "64"]),
    # Damage.
    *(make(f"{name}{where}", data, refused=words)
      for name, data, words in (
          ("one bit", flipped(noisy()), "CRC"),
          ("a wrong Adler-32", repacked(lambda data: data[:-1] + bytes([data[-1] ^ 1])), "damaged"),
          ("too few pixels", repacked(lambda data: zlib.compress(zlib.decompress(data)[:-25])), "fewer pixels"),
          ("too many", repacked(lambda data: zlib.compress(zlib.decompress(data) + bytes(25))), "more pixels"),
          ("a filter that there is none of", repacked(lambda data: zlib.compress(b"\7" + zlib.decompress(data)[1:])), "a filter that there is none of"),
          ("cut off", noisy()[:-40], "cut off|truncated"),
      )
      for where, make in BOTH),
    index("a damaged one left out", noisy(), flipped(noisy()), noisy(), taken={None: 2}, says=["left out 1 samples"], options=["--bad", "skip"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pictures(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
