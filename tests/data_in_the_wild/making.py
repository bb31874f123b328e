"""What the cases' inputs are made of: pictures in folders, tars, zips, and texts beside them."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from tests.conftest import encoded, picture

Make = Callable[[Path], Path]


@cache
def png(seed: int = 0) -> bytes:
    """A picture of 8x8 pixels, another for each seed."""
    return encoded(picture(seed), "png")


def pictures(names: Iterable[str]) -> dict[str, bytes]:
    """Names with a picture each."""
    return {name: png(i) for i, name in enumerate(names)}


def in_folder(*parts: Mapping[str, bytes | str], source: str = "") -> Make:
    """Writes files; SOURCE is the folder, or the file of this name in it."""

    def make(folder: Path) -> Path:
        for part in parts:
            for name, content in part.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / source

    return make


def in_zip(*parts: Mapping[str, bytes | str], method: int = zipfile.ZIP_STORED, system: int = 3) -> Make:
    """Writes a zip, as of a system: 3 is Unix, 0 and 10 are Windows. Names stay as they are given."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.zip", "w", method) as archive:
            for part in parts:
                for name, content in part.items():
                    info = zipfile.ZipInfo(name)
                    info.filename, info.create_system, info.compress_type = name, system, method
                    archive.writestr(info, content)
        return folder / "a.zip"

    return make


def tar_of(entries: Iterable[tuple[str, bytes] | tarfile.TarInfo], format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of files, and of members that are none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for entry in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry[0])
            content = b"" if isinstance(entry, tarfile.TarInfo) else entry[1]
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def in_file(name: str, content: bytes | str | Callable[[], bytes]) -> Make:
    """Writes one file, which is SOURCE."""

    def make(folder: Path) -> Path:
        data = content() if callable(content) else content
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return folder / name

    return make


def as_json(value) -> str:
    return json.dumps(value)
