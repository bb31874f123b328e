"""Files behind whatever fsspec reaches: http(s)://, hf:// and oss:// to read, and any of its protocols to write.

The functions, and what they raise, are those of `object_store`.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragdist.storage.retry import Refused
from ragdist.tools.errors import UserError

CONNECT, STALL = 10.0, 60.0  # seconds until there is a connection; without a byte, after which it counts as broken off
_PACKAGES = {"http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub", "oss": "ossfs"}


def info(place: str) -> tuple[int | None, str]:
    """Bytes of a file, where the service says so, and a text that is another one when its content changes."""
    fs, path = _open(place)
    with _translated():
        try:
            found = fs.info(path)
        except FileNotFoundError as error:  # over HTTP fsspec calls every failure so; the cause tells
            cause = error.__cause__
            if cause is None or getattr(cause, "status", 404) in (404, 410):
                raise
            raise cause from None
    size = found.get("size")
    marks = (found.get(key) for key in ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime"))
    return size if isinstance(size, int) else None, next((str(mark) for mark in marks if mark), "")


def read(place: str, start: int | None = None, stop: int | None = None) -> bytes:
    """Bytes ``start`` to ``stop`` of a file; servers without ranges give all of it."""
    fs, path = _open(place)
    with _translated():
        return fs.cat_file(path, start=start, end=stop)


def read_version(place: str) -> tuple[bytes, str]:
    """A whole file, without a word for its version: no write depends on it."""
    return read(place), ""


def write(place: str, data: bytes, *, only_if_new: bool = False, if_version: str = "") -> str:
    """Write a file whole; conditions are not understood."""
    if only_if_new or if_version:
        raise NotImplementedError(f"{place}: this service has no conditional writes")
    fs, path = _open(place)
    with _translated():
        fs.pipe_file(path, data)
    return ""


def upload(local: Path, place: str) -> None:
    """Copy a local file to a place."""
    fs, path = _open(place)
    with _translated():
        fs.put_file(str(local), path)


def list_files(place: str, *, deep: bool = True) -> dict[str, int]:
    """Names, relative to a folder, and sizes of the files in it, and below it where ``deep``; none without a folder."""
    fs, root = _open(place)
    with _translated():
        fs.invalidate_cache()
        try:
            found = fs.find(root, maxdepth=None if deep else 1, detail=True)
        except FileNotFoundError:  # an object store knows no empty folders
            return {}
    root = root.rstrip("/")
    return {name.removeprefix(root).lstrip("/"): entry.get("size") or 0 for name, entry in found.items()}


def delete(place: str) -> None:
    """Delete a file."""
    fs, path = _open(place)
    with _translated():
        fs.rm_file(path)


def make_folder(place: str) -> None:
    """Make a folder, with those above it."""
    fs, path = _open(place)
    with _translated():
        fs.makedirs(path, exist_ok=True)


def check(place: str) -> None:
    """Raises UserError where a URL's protocol is unknown or needs a package that is not there."""
    _open(place)


def _open(place: str) -> tuple[Any, str]:
    """The file system of a URL, which fsspec keeps one of for each process, and the path in it."""
    import fsspec

    protocol = place.partition("://")[0].lower()
    options: dict[str, Any] = {"client_kwargs": {"timeout": _http_timeout()}} if protocol in ("http", "https") else {}
    try:
        return fsspec.core.url_to_fs(place, **options)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        what = f"pip install {package}" if package else str(error)
        raise UserError(f"{place} needs a package for {protocol}:// ({what})") from error
    except ValueError as error:
        raise UserError(f"{place}: {error}") from error


def _http_timeout():
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=STALL)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of fsspec's many libraries as those that `retry` knows."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        status = getattr(error, "status", None) or getattr(error, "code", None)
        status = status or getattr(getattr(error, "response", None), "status_code", None)
        if status == 416 or "InvalidRange" in str(error):
            raise EOFError("it ends before the bytes that were asked for") from error
        if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
            raise Refused(f"{type(error).__name__}: {error}") from error
        if isinstance(error, OSError) and error.errno == errno.EINVAL:
            raise Refused(f"{type(error).__name__}: {error}") from error
        raise
