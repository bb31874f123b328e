"""Tars named by paths, folders, globs, brace patterns and URLs, and access to their bytes."""

import glob
import hashlib
import io
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ragdist.storage.store import Store, scheme
from ragdist.tools.errors import UserError

MOST = 100_000  # shards of a pattern; more is a slip of the finger


@dataclass(frozen=True)
class Tar:
    """A tar by path or URL, with its size and version."""

    place: str  # absolute path, or URL
    size: int
    mark: str  # another one when the content changes; empty where nothing tells

    @property
    def remote(self) -> bool:
        """Whether the tar has to be fetched."""
        return is_remote(self.place)


def is_remote(place: str) -> bool:
    """Whether an absolute path or URL is a URL."""
    return not os.path.isabs(place)


def look_at(place: str) -> Tar:
    """Look up the tar at an absolute path or URL. Raises UserError where there is none."""
    try:
        return Tar(place, *Store(os.sep).stat(place))
    except FileNotFoundError as error:
        raise UserError(f"there is no {place}") from error


@contextmanager
def mapped(tar: Tar, scratch: Path, *, keep: bool = False) -> Iterator[mmap.mmap]:
    """Map a tar's bytes; a remote one is fetched to ``scratch`` first, and stays there only with ``keep``.

    Raises:
        UserError: it cannot be had, is empty, or is not as large as it was.
    """
    path = Path(tar.place)
    if tar.remote:
        name = "\n".join((tar.place, str(tar.size), tar.mark))
        path = scratch / f"{hashlib.sha256(name.encode()).hexdigest()}.tar"
    try:
        if tar.remote and not path.exists():
            _fetch(tar, path)
        yield _map(tar, path)
    finally:
        if tar.remote and not keep:
            path.unlink(missing_ok=True)


def _fetch(tar: Tar, path: Path) -> None:
    part = path.with_suffix(".part")
    try:
        Store(path.parent).fetch(tar.place, tar.size, part)
    except FileNotFoundError as error:
        raise UserError(f"there is no {tar.place}") from error
    part.rename(path)


def _map(tar: Tar, path: Path) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            if (size := file.seek(0, io.SEEK_END)) != tar.size:
                raise UserError(f"{tar.place} had {tar.size:,} bytes and has {size:,}: wait until it is written")
            if not size:
                raise UserError(f"{tar.place} is empty: get it again, or write it again")
            # Copy-on-write: PyTorch wants memory it may write to, and the file must not change.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise UserError(f"{tar.place} cannot be read: {error.strerror}") from error


def tars(patterns: list[str]) -> list[str]:
    """Expand patterns to absolute paths and URLs of tars, in their order.

    A folder stands for its ``*.tar``, in the order of their names.

    Raises:
        UserError: a pattern names nothing, something that is not there, or a tar that another one names, too.
    """
    found = [place for pattern in patterns for word in _braces(pattern) for place in _expand(word)]
    if not found:
        raise UserError("no shards are named: give tars, a folder of them, or a pattern such as 'data-{000..146}.tar'")
    seen = set()
    for place in found:
        if place in seen:
            raise UserError(f"{place} is named twice")
        seen.add(place)
    return found


def _braces(pattern: str) -> list[str]:
    """Expand ``a-{00..02}.tar`` to three names; a file whose name holds braces is taken as it is."""
    if "{" not in pattern or os.path.exists(pattern):
        return [pattern]
    import braceexpand

    too_many = f"{pattern} names more than {MOST:,} shards: is that what you mean?"
    for first, last in re.findall(r"\{(-?\d+)\.\.(-?\d+)", pattern):
        if abs(int(last) - int(first)) >= MOST:  # braceexpand would make a list of the whole range first
            raise UserError(too_many)
    try:
        words = list(islice(braceexpand.braceexpand(pattern, escape=False), MOST + 1))
    except (ValueError, braceexpand.UnbalancedBracesError) as error:
        raise UserError(f"{pattern}: its braces do not match ({error})") from error
    if len(words) > MOST:
        raise UserError(too_many)
    return words


def _expand(word: str) -> list[str]:
    if not os.path.exists(word) and scheme(word) is not None:
        if "*" in word or not word.partition("?")[0].endswith(".tar"):
            raise UserError(f"{word}: name remote shards one by one or by braces, such as .../data-{{000..146}}.tar")
        return [word]
    path = Path(word) if os.path.exists(word) else Store(word).local
    if path.is_dir():
        found = sorted(path.glob("*.tar"))
        if not found:
            raise UserError(f"{word} holds no .tar files: name the folder that does")
    elif path.exists():
        found = [path]
    else:
        found = [Path(name) for name in sorted(glob.glob(str(path)))]
        if not found:
            raise UserError(f"there is no {word}")
    return [os.path.abspath(path) for path in found]
