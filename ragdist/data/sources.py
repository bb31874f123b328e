"""Where images come from: a folder of class folders, a tar of one, or the digits of scikit-learn.

A source lists its entries without opening them, and opens any of them, so that a writer can shuffle.
"""

import gzip
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from ragdist.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


@dataclass
class Source:
    """Images by number."""

    names: list[str]  # for messages: a path inside the source
    labels: list[int]  # class numbers; empty: none
    classes: list[str]  # their names
    open: Callable[[int], bytes]  # the encoded image; safe to call from several threads
    ignored: list[str] = field(default_factory=list)  # files that are no images by their names


@contextmanager
def open_source(name: str, scratch: Path) -> Iterator[Source]:
    """The source of a name: a folder, a tar (also compressed), or ``digits``.

    ``scratch`` is a folder for what must be unpacked; the caller deletes it.

    Raises:
        UserError: there is nothing to read there.
    """
    path = Path(name)
    if path.is_dir():
        yield _folder(path)
    elif path.is_file():
        if not tarfile.is_tarfile(path):
            raise UserError(f"{name} is no tar: give a folder of class folders, a .tar or .tar.gz of one, or 'digits'")
        with _tar(path, scratch) as source:
            yield source
    elif name == "digits":
        yield _digits()
    else:
        raise UserError(f"no source '{name}': give a folder of class folders, a .tar or .tar.gz of one, or 'digits'")


def _grouped(where: str, files: list[str], opener: Callable[[int, str], bytes]) -> Source:
    """A source of files in class folders: a file's class is its folder, where there is more than one."""
    images = sorted(name for name in files if PurePosixPath(name).suffix.lower() in IMAGES)
    ignored = sorted(set(files) - set(images))
    if not images:
        seen = f" ({len(ignored)} other files, such as {ignored[0]})" if ignored else ""
        raise UserError(f"{where} holds no images{seen}: give a folder of class folders with {', '.join(IMAGES)} files")
    folders = sorted({str(PurePosixPath(name).parent) for name in images})
    classes = _class_names(folders) if len(folders) > 1 else []
    number = {folder: i for i, folder in enumerate(folders)}
    labels = [number[str(PurePosixPath(name).parent)] for name in images] if classes else []
    return Source(images, labels, classes, lambda i: opener(i, images[i]), ignored)


def _class_names(folders: list[str]) -> list[str]:
    """The folders' names without the part that all of them share."""
    parts = [PurePosixPath(folder).parts for folder in folders]
    shared = 0
    while len({p[: shared + 1] for p in parts}) == 1 and all(len(p) > shared + 1 for p in parts):
        shared += 1
    return ["/".join(p[shared:]) or "." for p in parts]


def _folder(path: Path) -> Source:
    files = [str(file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file()]
    return _grouped(str(path), files, lambda _, name: (path / name).read_bytes())


@contextmanager
def _tar(path: Path, scratch: Path) -> Iterator[Source]:
    """A tar's files, read by their byte ranges: nothing is extracted by its name."""
    plain = path
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        if packed:  # a compressed file has no byte ranges
            plain = scratch / "source.tar"
            with gzip.open(path) as packed_file, open(plain, "wb") as unpacked:
                shutil.copyfileobj(packed_file, unpacked, 1 << 20)
        with tarfile.open(plain, "r:") as tar:
            ranges = {m.name: (m.offset_data, m.size) for m in tar if m.isfile()}
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be read as a tar, it may be cut off ({error}): get it again") from error
    with open(plain, "rb", buffering=0) as file:

        def read(_: int, name: str) -> bytes:
            offset, size = ranges[name]
            return os.pread(file.fileno(), size, offset)

        yield _grouped(str(path), list(ranges), read)


def _digits() -> Source:
    """1,797 handwritten digits of 8x8 pixels, 0 to 16 (Alpaydin & Kaynak 1998), which come with scikit-learn."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)

    def png(i: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(images[i]).save(out, "png")
        return out.getvalue()

    names = [f"digit {i}" for i in range(len(images))]
    return Source(names, [int(label) for label in data.target], [str(d) for d in range(10)], png)
