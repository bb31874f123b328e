"""Folders of samples' files, with class folders or without, and the classes of any list of files."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.sources.source import Source
from ragdist.tools.errors import UserError, nearest


@dataclass(frozen=True)
class FileReader:
    """Reads files by their paths in a folder."""

    root: str

    def __call__(self, place: str) -> bytes:
        with open(os.path.join(self.root, place), "rb") as file:
            return file.read()


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The files of a folder; a file's class is its folder, where there is more than one."""
    root = os.path.abspath(name)
    files = {path: (size, time) for path, size, time in _walk(root)}
    source = grouped(name, list(files), list(files), FileReader(root), "", options)
    stamp = hashlib.sha256(repr([files[place] for place in source.places]).encode())
    return replace(source, identity=stamp.hexdigest())


def _walk(root: str) -> Iterator[tuple[str, int, int]]:
    """(path below ``root``, bytes, time of change) of every file. Links are followed, each folder once; hidden
    folders are not: what is half-written may be one of them."""
    left, seen = [""], set()
    while left:
        below = left.pop()
        try:
            status = os.stat(os.path.join(root, below))
            if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(os.path.join(root, below)) as entries:
                for entry in entries:
                    path = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir():
                        left.extend([path] if not entry.name.startswith(".") else [])
                    elif entry.is_file():
                        status = entry.stat()
                        yield path, status.st_size, status.st_mtime_ns
        except OSError as error:
            raise UserError(f"{os.path.join(root, below)} cannot be listed ({error.strerror})") from error


def grouped(
    where: str,
    files: Sequence[str],
    places: Sequence[Any],
    read: Callable[[Any], bytes],
    identity: str,
    options: ShardOptions,
) -> Source:
    """A source of files in class folders.

    Args:
        where: for messages: what holds the files.
        files: their paths, with ``/``.
        places: where ``read`` finds each.
        options: ``split``: take only the files in the folder of this name; ``modality``.

    Raises:
        UserError: no file is a sample, or no such split.
    """
    places = {str(PurePosixPath(name)): place for name, place in zip(files, places, strict=True)}
    modality = options.modality or most_of(where, places)
    making = modalities.making(modality)
    chosen = sorted(name for name in places if _ending(name) in making.suffixes)
    ignored = sorted(places.keys() - set(chosen))
    if not chosen:
        seen = f" ({len(ignored)} other files, such as {ignored[0]})" if ignored else ""
        kinds = ", ".join(sorted(making.suffixes))
        if unread := unread_of(modality, ignored):
            raise UserError(f"{where} holds no {making.units} that can be read: {unread}")
        raise UserError(f"{where} holds no {making.units}{seen}: give a folder of class folders with {kinds} files")
    if options.split:
        chosen = _split(where, chosen, options.split)
    folders = [name.rpartition("/")[0] for name in chosen]
    distinct = sorted(set(folders))
    classes = class_names(distinct) if len(distinct) > 1 else []
    number = {folder: i for i, folder in enumerate(distinct)}
    labels = [number[folder] for folder in folders] if classes else []
    return Source(chosen, [places[name] for name in chosen], read, modality, identity, labels, classes, ignored)


def unread_of(modality: str, ignored: Iterable[str]) -> str:
    """What to say of files that are samples of kinds that are not read, by their endings; empty: there are none."""
    others = getattr(modalities.making(modality), "others", ())
    found = Counter(ending for ending in map(_ending, ignored) if ending in others)
    if not found:
        return ""
    kinds = ", ".join(f"{count:,} {ending}" for ending, count in found.most_common(5))
    return f"{kinds} of kinds that are not read here; convert them first, as to PNG or JPEG"


def most_of(where: str, names: Iterable[str]) -> str:
    """The modality that most of the files are samples of, by their endings.

    Raises:
        UserError: two are equally likely.
    """
    endings = Counter(map(_ending, names))
    every = modalities.all_making()
    count = {name: sum(endings[suffix] for suffix in making.suffixes) for name, making in every.items()}
    return modalities.most_likely(where, count)


def _ending(name: str) -> str:
    """A file's ending; none of hidden ones, such as the ``._1.jpg`` of a Mac's archives."""
    dot = name.rfind(".")
    hidden = name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name
    if dot <= 0 or (hidden and not name.startswith(("../", "/"))):
        return ""
    return name[dot:].lower()


def _split(where: str, files: list[str], split: str) -> list[str]:
    """The files below the folder called ``split``: the first level at which folders differ, or above it."""
    folders = [PurePosixPath(name).parent.parts for name in files]
    shared = shared_parts(folders)
    if split in folders[0][:shared]:
        return files
    chosen = [name for name, parts in zip(files, folders, strict=True) if parts[shared : shared + 1] == (split,)]
    if not chosen:
        there = sorted({parts[shared] for parts in folders if len(parts) > shared} | set(folders[0][:shared]))
        raise UserError(f"--split {split}: {where} has no folder of that name{nearest(split, there) if there else ''}")
    return chosen


def shared_parts(folders: Sequence[tuple[str, ...]]) -> int:
    """How many leading folders all of the paths have in common."""
    first, last = min(folders), max(folders)  # what the two extremes share, all between them do
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def class_names(folders: Sequence[str]) -> list[str]:
    """The folders' names without the part that all of them share."""
    parts = [PurePosixPath(folder).parts for folder in folders]
    shared = shared_parts(parts)
    return ["/".join(p[shared:]) or "." for p in parts]
