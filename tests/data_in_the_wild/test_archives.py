"""Archives as other systems pack them: all that is in them is read, or named."""

import bz2
import gzip
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import in_file, in_zip, pictures, png, special, tar_of

TWO = pictures(["cat/0.png", "cat/1.png", "dog/2.png"])
CATS = {"cat": 2, "dog": 1}
WHOLE = tar_of(TWO.items())
SECOND = 512 + len(png(0)) + -len(png(0)) % 512  # where the second member's header begins


def damaged(at: int) -> bytes:
    data = bytearray(WHOLE)
    data[at] ^= 0xFF
    return bytes(data)


def by_windows(names: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("/", "\\"): content for name, content in names.items()}


def linked(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name, content in TWO.items():
            archive.writestr(name, content)
        info = zipfile.ZipInfo("dog/link.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "../cat/0.png")
    return folder / "a.zip"


def twice(folder: Path) -> Path:
    path = in_zip(pictures(["cat/0.png", "dog/2.png", "cow/0.png"]))(folder)
    path.write_bytes(path.read_bytes().replace(b"cow/", b"cat/"))
    return path


def without_the_flag_of_utf8(folder: Path) -> Path:
    path = in_zip(pictures(["k\xe4tzchen/0.png", "dog/1.png"]))(folder)
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = -1
        while (place := data.find(magic, place + 1)) >= 0:
            data[place + at + 1] &= ~8
    path.write_bytes(data)
    return path


def cut(folder: Path) -> Path:
    path = in_zip(TWO)(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def fewer_than_announced(folder: Path) -> Path:
    path = in_zip(TWO)(folder)
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\x05\x06") + 10] += 1
    path.write_bytes(data)
    return path


def deflate64(folder: Path) -> Path:
    path = in_zip(TWO)(folder)
    data = path.read_bytes()
    at = data.find(b"PK\x01\x02")
    path.write_bytes(data[: at + 10] + b"\x09" + data[at + 11 :])
    return path


def zips_joined(folder: Path) -> Path:
    (folder / "first").mkdir()
    first, second = in_zip(TWO)(folder / "first"), in_zip(TWO)(folder)
    second.write_bytes(first.read_bytes() + second.read_bytes())
    return second


CASES = [
    Case("a bad header in the middle of a tar", in_file("a.tar", damaged(SECOND + 5)), refused=f"byte {SECOND:,}, after cat/0.png"),
    Case("a tar cut between two members", in_file("a.tar", WHOLE[:SECOND]), refused=f"byte {SECOND:,}.* end-of-archive"),
    Case("a packed tar cut between two members", in_file("a.tgz", gzip.compress(WHOLE[:SECOND])), refused=f"byte {SECOND:,}"),
    Case("zeros in the middle of a tar", in_file("a.tar", WHOLE[:SECOND] + bytes(512) + WHOLE[SECOND + 512 :]), refused="zeros"),
    Case("joined tars", in_file("a.tar", WHOLE + WHOLE), refused="other content from byte"),
    Case("a packed tar that is cut off", in_file("a.tgz", gzip.compress(WHOLE)[:200]), refused="cut off"),
    Case("a tar called .zip", in_file("a.zip", WHOLE), taken=CATS),
    Case("a gzip called .tar", in_file("a.tar", gzip.compress(WHOLE)), taken=CATS),
    Case("a tar that ends with a zip", lambda p: in_file("a.tar", tar_of([*TWO.items(), ("b.zip", in_zip(TWO)(p).read_bytes())]))(p), taken=CATS),
    Case(
        "links, a device and a double in a tar",
        in_file(
            "a.tar",
            tar_of([*TWO.items(), special("cat/l.png", b"2", "0.png"), special("cat/h.png", b"1", "cat/0.png"),
                    special("cat/p.png", b"6"), special("bird", b"5"), ("cat/0.png", png(7))]),
        ),
        taken=CATS,
        says=["symbolic links in the tar.*: 1, such as cat/l.png", "hard links in the tar.*: 1, such as cat/h.png",
              "pipes in the tar, not read: 1", "later file of the same name.*: 1, such as cat/0.png"],
    ),
    Case("long names, GNU", in_file("a.tar", tar_of([("cat/" + "x" * 250 + ".png", png()), ("dog/" + "y" * 250 + ".png", png(1))])), taken={"cat": 1, "dog": 1}),
    Case("long names, PAX", in_file("a.tar", tar_of([("k\xe4tzchen/" + "x" * 250 + ".png", png()), ("dog/1.png", png(1))], tarfile.PAX_FORMAT)), taken={"k\xe4tzchen": 1, "dog": 1}),
    Case("names that are not in UTF-8", in_file("a.tar", tar_of([("k\udce4tzchen/0.png", png()), ("dog/1.png", png(1))])), taken={"k\udce4tzchen": 1, "dog": 1}, says=[r"not in UTF-8.*: 1, such as k\\udce4tzchen"]),
    Case("absolute names and ..", in_file("a.tar", tar_of([("/data/cat/0.png", png()), ("data/../data/cat/1.png", png(1)), ("./data//dog/2.png", png(2))])), taken=CATS),
    Case("one root in another", in_file("a.tar", tar_of(pictures(["a/b/c/cat/0.png", "a/b/c/dog/1.png"]).items())), taken={"cat": 1, "dog": 1}),
    Case("a zip from Windows", in_zip(by_windows(TWO), system=0), taken=CATS, says=[r"with \\ in their names.*: 3"]),
    Case("a zip with backslashes that says it is from Unix", in_zip(by_windows(TWO)), taken=CATS),
    Case("drive letters", in_zip(by_windows({f"C:/x/{name}": data for name, data in TWO.items()}), system=10), taken=CATS),
    Case("a backslash among slashes", in_zip(TWO | {"dog\\3.png": png(3)}), taken={"cat": 2, "dog": 2}),
    Case("a name with a backslash in it", in_zip(TWO | {"dog/3\\4.png": png(3)}), taken={"cat": 2, "dog": 2}),
    Case("folders as members, with backslashes", in_zip({"cat\\": b"", "dog\\": b""}, by_windows(TWO), system=0), taken=CATS),
    Case("a zip made with bzip2", in_zip(TWO, method=zipfile.ZIP_BZIP2), taken=CATS),
    Case("a zip made with LZMA", in_zip(TWO, method=zipfile.ZIP_LZMA), taken=CATS),
    Case("a zip made with Deflate64", deflate64, refused="cat/0.png is compressed by Deflate64: pack the zip again", never=["--bad skip"]),
    Case("a link in a zip", linked, taken=CATS, says=["symbolic links in the zip, not read: 1, such as dog/link.png"]),
    Case("a member twice in a zip", twice, taken={"cat": 1, "dog": 1}, says=["later file of the same name.*: 1, such as cat/0.png"]),
    Case("UTF-8 in a zip that does not say so", without_the_flag_of_utf8, taken={"k\xe4tzchen": 1, "dog": 1}),
    Case("a zip that is cut off", cut, refused="a zip that was cut off"),
    Case("a zip with fewer members than it says", fewer_than_announced, refused="announces 4 members and names 3"),
    Case("two zips in one file", zips_joined, taken=CATS, says=["its directory names nothing in its first"]),
    Case("7z", in_file("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(600)), refused="7z archive: unpack it"),
    Case("RAR", in_file("a.rar", b"Rar!\x1a\7\1\0" + bytes(600)), refused="RAR archive: unpack it"),
    Case("a tar with Zstandard", in_file("a.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(600)), refused="Zstandard", never=["get it again"]),
    Case("one file, packed", in_file("a.gz", gzip.compress(b"\0\0\x08\x03" + bytes(600))), refused="torchvision:MNIST"),
    Case("a page of the web called .zip", in_file("a.zip", b"<!DOCTYPE html>" + b" " * 600), refused="page of the web"),
    Case("an empty file", in_file("a.tar", b""), refused="is empty"),
    Case("zeros", in_file("a.tar", bytes(10_240)), refused="holds no images"),
    Case("a pickle", in_file("data_batch_1", b"\x80\x02}q\x01." + bytes(600)), refused="torchvision:CIFAR10", never=["damaged"]),
    Case("a pickle by its ending", in_file("train.pkl", b"(dp0\n." + bytes(600)), refused="Python pickle.*npz", never=["damaged"]),
    Case("CIFAR's archive", in_file("cifar.tar.gz", gzip.compress(tar_of([("cifar-10-batches-py/data_batch_1", b"\x80\x02")]))), refused="torchvision:CIFAR10"),
    Case("shards given as a source", in_file("a.tar", tar_of([("a/0.tar", WHOLE)])), refused="ragdist.shards index"),
    Case("bzip2 in bzip2's name", in_file("a.tbz", bz2.compress(WHOLE)), taken=CATS),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_archives(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
