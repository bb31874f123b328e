"""Folders of samples' files, with class folders or without."""

import hashlib
import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ragdist.config.shards import ShardOptions
from ragdist.data.sources.grouping import grouped
from ragdist.data.sources.names import paths
from ragdist.data.sources.source import Remarks, Source
from ragdist.tools.errors import UserError


@dataclass(frozen=True)
class FileReader:
    """Reads files by their paths in a folder."""

    root: str

    def __call__(self, place: str) -> bytes:
        try:
            with self.open(place) as file:
                return file.read()
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error

    def open(self, place: str) -> BinaryIO:
        """The file itself, for what may be large."""
        try:
            return open(os.path.join(self.root, place), "rb")
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The files of a folder; their classes are in a label file beside them, else a file's class is its folder."""
    root, remarks = os.path.abspath(name), Remarks()
    files = {path: (size, time) for path, size, time in _walk(root, remarks)}
    source = grouped(name, paths(list(files), list(files), remarks), FileReader(root), "", options, remarks)
    stamp = hashlib.sha256(repr([files[place] for place in source.places]).encode())
    return replace(source, identity=stamp.hexdigest())


def _walk(root: str, remarks: Remarks) -> Iterator[tuple[str, int, int]]:
    """(path below ``root``, bytes, time of change) of every file. Links are followed, each folder once, by its own name
    where it is below ``root`` itself; hidden folders are not: what is half-written may be one of them."""
    left, seen = [(False, "")], set()  # (whether a link leads there, folder)
    while left:
        linked, below = heapq.heappop(left)
        try:
            status = os.stat(os.path.join(root, below))
            if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
                remarks.count("links to folders that are there already, not followed", below)
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(os.path.join(root, below)) as entries:
                found = list(entries)
            if below and not found:
                remarks.count("empty folders", below)
            for entry in found:
                path = f"{below}/{entry.name}" if below else entry.name
                if _leads_nowhere(entry):
                    remarks.count("links that lead nowhere", path)
                elif entry.is_dir() and entry.name.startswith("."):
                    remarks.count("hidden folders, not read", path)
                elif entry.is_dir():
                    heapq.heappush(left, (linked or entry.is_symlink(), path))
                elif entry.is_file():
                    status = entry.stat()
                    yield path, status.st_size, status.st_mtime_ns
                else:
                    remarks.count("devices and pipes, not read", path)
        except OSError as error:
            raise UserError(f"{os.path.join(root, below)} cannot be listed ({error.strerror})") from error


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a link to nothing, or in a circle of links."""
    return entry.is_symlink() and not os.path.exists(entry.path)
