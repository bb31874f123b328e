"""Files in a folder by path or URL: the local disk, object stores, and what else can be read through fsspec."""

import re
from pathlib import Path
from types import ModuleType

from ragdist.storage import filesystems, object_store
from ragdist.storage.retry import retried
from ragdist.tools.errors import UserError

CHUNK = 8 << 20  # bytes of one request: what is lost, at most, when a connection breaks off

# Schemes that read a file from elsewhere. fsspec's others run code, chain further ones or read the local disk.
SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "oss")


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
    """A folder of files by path or URL; picklable."""

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
        """Locate a file: ``name`` itself where it is absolute or a URL, else the one in this folder.

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

    def read(self, name: str, attempts: int | None = None) -> bytes:
        """Read a small file whole.

        Raises:
            FileNotFoundError: there is none.
            UserError: it cannot be had.
        """
        if path := self.path(name):
            return path.read_bytes()
        place = self.locate(name)
        return retried(place, lambda: service(place).read(place), attempts)

    def stat(self, name: str) -> tuple[int, str]:
        """A file's size, and a text that changes when its content does; empty where nothing tells.

        Raises:
            FileNotFoundError: there is none.
            UserError: it cannot be had, or nobody says how large it is.
        """
        if path := self.path(name):
            stat = path.stat()
            return stat.st_size, str(stat.st_mtime_ns)
        place = self.locate(name)
        size, mark = retried(place, lambda: service(place).info(place))
        if size is None:
            raise UserError(f"{place}: its server does not say how large it is: copy it to a disk first")
        return size, mark

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

    # What follows writes, and is for URLs. Any of it raises UserError where access is denied or nothing answers, and
    # FileNotFoundError where there is no such bucket.

    def read_version(self, name: str) -> tuple[bytes, str]:
        """A small file whole, and its version for `write`; empty where the service has no conditional writes.

        Raises:
            FileNotFoundError: there is none.
        """
        place = self._url(name)
        return retried(place, lambda: service(place).read_version(place))

    def write(self, name: str, data: bytes, *, only_if_new: bool = False, if_version: str = "") -> str:
        """Write a small file whole, where a condition is given only if it is met then; the file's new version.

        An answer that is lost on the way makes the next attempt meet this one's own file: who gives a condition reads
        the file after a `FileExistsError`.

        Args:
            name: the file's.
            data: what it holds then; for conditions something new, as equal contents may have equal versions.
            only_if_new: there must be none yet.
            if_version: this must be its version still; empty: any.

        Raises:
            FileExistsError: the condition is not met.
            NotImplementedError: the service has no conditional writes.
        """
        place = self._url(name)
        condition = {"only_if_new": only_if_new, "if_version": if_version}
        return retried(place, lambda: service(place).write(place, data, **condition), writing=True)

    def upload(self, local: Path, name: str) -> None:
        """Copy a local file into the folder; it is there whole or not at all."""
        place = self._url(name)
        retried(place, lambda: service(place).upload(local, place), writing=True)

    def list(self) -> dict[str, int]:
        """Names and sizes of all files in the folder and below."""
        return retried(self.where, lambda: service(self.where).list_files(self.where))

    def delete(self, name: str) -> None:
        """Delete a file.

        Raises:
            FileNotFoundError: there is none; not every service says so.
        """
        place = self._url(name)
        retried(place, lambda: service(place).delete(place), writing=True)

    def _url(self, name: str) -> str:
        assert self.local is None, self.where
        return self.locate(name)


def _part(place: str, start: int, stop: int, size: int) -> bytes | memoryview:
    try:
        data = service(place).read(place, start, stop)
    except EOFError as error:
        raise EOFError(f"it ends before byte {start + 1:,} of {size:,}") from error
    if len(data) not in (stop - start, size):
        raise EOFError(f"it ends at byte {start + len(data):,} and not {size:,}")
    return data


def service(place: str) -> ModuleType:
    """The module whose functions reach a URL: `object_store` or `filesystems`."""
    return object_store if place.partition("://")[0].lower() in object_store.SCHEMES else filesystems
