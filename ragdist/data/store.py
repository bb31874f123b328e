"""Files in a folder by path or URL: the local disk, and http(s)://, s3://, gs:// and the like through fsspec."""

import errno
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ragdist.errors import Unreachable, UserError

ATTEMPTS = 8
_SHORT = 3  # attempts at a file that ends too early
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds; doubled from one attempt to the next
CHUNK = 8 << 20  # bytes of one request: what is lost, at most, when a connection breaks off
STALL = 60.0  # seconds without a byte after which a connection counts as broken off

# Schemes that read a file from elsewhere. fsspec's others run code, chain further ones or read the local disk.
SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "oss")
_PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
_PACKAGES |= {"abfs": "adlfs", "hf": "huggingface_hub", "oss": "ossfs"}

T = TypeVar("T")


def scheme(where: str) -> str | None:
    """The scheme of a URL; None for a path.

    Raises:
        UserError: a URL of a scheme that is not read.
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?=.)", where)
    if not found:
        return None
    name = found[1].lower()
    if name == "file" and "::" not in where:
        return None
    if name not in SCHEMES or "::" in where or "://" not in where:
        raise UserError(f"{where}: a path, or a URL that starts with {', '.join(s + '://' for s in SCHEMES)}")
    return name


class Store:
    """A folder of files, by path or URL; a value that can be sent to another process."""

    def __init__(self, where: str | Path):
        where = str(where)
        self.scheme = scheme(where)
        self.where = where if self.scheme is None else where.rstrip("/")
        if self.scheme is None:
            self.where = re.sub(r"^file:/+", "/", where)

    @property
    def local(self) -> Path | None:
        """The folder, where it is on this machine's file system."""
        return Path(self.where) if self.scheme is None else None

    def locate(self, name: str) -> str:
        """The path or URL of a file: ``name`` itself where it is absolute or a URL, else the one in this folder.

        Raises:
            UserError: a name that leads out of the folder, or from another machine's index to a file of this one.
        """
        if scheme(name) is not None:
            return name
        path = Path(re.sub(r"^file:/*", "/", name))
        if path.is_absolute() and self.local:
            return str(path)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise UserError(f"{self.where} names a file outside its folder: {name}")
        return str(Path(self.where) / name) if self.local else f"{self.where}/{name}"

    def path(self, name: str) -> Path | None:
        """The local path of a file; None where it has to be fetched."""
        place = self.locate(name)
        return Path(place) if scheme(place) is None else None

    def read(self, name: str, attempts: int = ATTEMPTS) -> bytes:
        """A small file whole.

        Raises:
            FileNotFoundError: there is none.
            UserError: it cannot be had.
        """
        if path := self.path(name):
            return path.read_bytes()
        place = self.locate(name)
        return retried(place, lambda: filesystem(place).cat_file(place), attempts)

    def stat(self, name: str) -> tuple[int, str]:
        """A file's bytes, and a text that is another one when its content changes; empty where nothing says that.

        Raises:
            FileNotFoundError: there is none.
            UserError: it cannot be had, or nobody says how large it is.
        """
        if path := self.path(name):
            stat = path.stat()
            return stat.st_size, str(stat.st_mtime_ns)
        place = self.locate(name)
        info = retried(place, lambda: _info(place))
        if not isinstance(size := info.get("size"), int):
            raise UserError(f"{place}: its server does not say how large it is: copy it to a disk first")
        marks = (info.get(key) for key in ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime"))
        return size, next((str(mark) for mark in marks if mark), "")

    def fetch(self, name: str, size: int, into: Path) -> None:
        """Copy a remote file of ``size`` bytes, request by request, so that a break costs one of them.

        Raises:
            FileNotFoundError: there is none.
            UserError: it cannot be had, or ends before that size.
        """
        place = self.locate(name)
        with open(into, "r+b" if into.exists() else "wb") as file:
            for start in range(0, size, CHUNK):
                stop = min(start + CHUNK, size)
                data = retried(place, lambda start=start, stop=stop: _part(place, start, stop, size))
                if len(data) != stop - start:  # a server that gives whole files only
                    file.seek(0)
                    file.write(data)
                    break
                file.write(data)
            file.truncate()


def _info(place: str) -> dict:
    try:
        return filesystem(place).info(place)
    except FileNotFoundError as error:  # over HTTP fsspec calls every failure so; the cause tells
        cause = error.__cause__
        if cause is None or getattr(cause, "status", 404) in (404, 410):
            raise
        raise cause from None


def _part(place: str, start: int, stop: int, size: int) -> bytes:
    try:
        data = filesystem(place).cat_file(place, start=start, end=stop)
    except Exception as error:
        if getattr(error, "status", None) == 416 or "InvalidRange" in str(error):
            raise EOFError(f"it ends before byte {stop:,} of {size:,}") from error
        raise
    if len(data) not in (stop - start, size):
        raise EOFError(f"it ends at byte {start + len(data):,} and not {size:,}")
    return data


def filesystem(place: str):
    """fsspec's view of the place's service, with time limits."""
    import fsspec

    kind = scheme(place)
    options = {}
    if kind in ("http", "https"):
        options = {"client_kwargs": {"timeout": _http_timeout()}}
    elif kind == "s3":
        options = {"config_kwargs": {"connect_timeout": 10, "read_timeout": STALL, "retries": {"max_attempts": 1}}}
    try:
        return fsspec.filesystem(kind, **options)
    except ImportError as error:
        package = _PACKAGES[kind]
        raise UserError(f"{place} needs the package {package}: pip install {package}") from error


def _http_timeout():
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=STALL)


def retried(place: str, work: Callable[[], T], attempts: int = ATTEMPTS, *, writing: bool = False) -> T:
    """The result of ``work``, tried again with growing pauses while its errors may pass.

    ``writing`` is for messages.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: access is denied, or the attempts are used up.
    """
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except (FileNotFoundError, UserError):
            raise
        except Exception as error:  # every service has its own kinds
            what = _short(error)
            if _denied(error):
                raise UserError(f"{place}: {what}: check the address and this machine's credentials") from error
            if isinstance(error, EOFError) and attempt == _SHORT:
                raise UserError(f"{place} was cut off or changed since it was indexed ({what})") from error
            if attempt == attempts:
                verb = "written" if writing else "read"
                raise Unreachable(
                    f"{place} cannot be {verb} ({what}, {attempts} times): run the same command again when it can"
                ) from error
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            if attempt > 1:  # a single failure is no news
                print(f"{place}: {what}; attempt {attempt + 1} of {attempts} in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
    raise AssertionError("unreachable")


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _denied(error: BaseException) -> bool:
    """Whether trying again is of no use: the request itself is refused."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    status = status or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in (408, 425, 429)
    name = type(error).__name__
    refused = isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EINVAL)
    return refused or name in ("NoCredentialsError", "PartialCredentialsError")
