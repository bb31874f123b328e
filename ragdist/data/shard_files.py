"""Access to shards and tables: in place on a local disk, or through the cache."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ragdist.data.index import NO_LABEL, TABLE, Index, table_from
from ragdist.storage.cache import Cache
from ragdist.storage.store import Store
from ragdist.tools.errors import UserError


class ShardFiles:
    """The files of one data set; picklable.

    Args:
        where: the data set's folder, by path or URL.
        index: the data set's index.
        cache: for what is not on a local disk.
    """

    def __init__(self, where: str | Path, index: Index, cache: Cache | None = None):
        self.store = Store(where)
        self.index = index
        self.cache = cache

    def open(self, number: int) -> BinaryIO:
        """Open shard ``number``.

        Raises:
            UserError: it cannot be had or is not what was indexed.
        """
        shard = self.index.shards[number]
        if path := self.store.path(shard.name):
            with _read_errors_as_user_error(path):
                return open(path, "rb")
        fetch, check = partial(self._fetch, shard.name, shard.bytes), partial(self._check_shard, number)
        file = self._cache.open(shard.sha256, shard.bytes, fetch, check)
        if os.fstat(file.fileno()).st_size != shard.bytes:  # cut off in the cache
            file.close()
            self._cache.drop(shard.sha256)
            file = self._cache.open(shard.sha256, shard.bytes, fetch, check)
        return file

    def table(self, number: int) -> np.ndarray:
        """Load the table of shard ``number``: TABLE records [samples].

        Raises:
            UserError: it cannot be had or is not what was indexed.
        """
        shard = self.index.shards[number]
        place = self.store.locate(shard.table)
        if path := self.store.path(shard.table):
            with _read_errors_as_user_error(path):
                data = path.read_bytes()
        else:
            data = self._cached_table(number)
        table = table_from(data, shard, place)
        if table["label"].max() >= max(len(self.index.classes), 1) or table["label"].min() < NO_LABEL:
            raise UserError(f"{place} holds labels that its index has no classes for: index the shards again")
        return table

    def _cached_table(self, number: int) -> bytes:
        shard = self.index.shards[number]
        size, fetch, check = TABLE.itemsize * shard.samples, self._fetch_table(shard.table), self._check_table(number)
        for last in (False, True):
            with self._cache.open(shard.table_sha256, size, fetch, check) as file:
                data = file.read()
            with suppress(UserError):
                table_from(data, shard, shard.table)
                break
            if not last:  # it rots in the cache
                self._cache.drop(shard.table_sha256)
        return data

    def remote(self, number: int) -> bool:
        """Whether the shard has to be fetched before it can be read."""
        return self.store.path(self.index.shards[number].name) is None

    def fetch(self, number: int) -> None:
        """Fetch a remote shard and its table into the cache, and mark them as just used."""
        if self.remote(number):
            self.table(number)
            self.open(number).close()

    def drop_if_damaged(self, number: int) -> None:
        """Drop a shard from the cache that no longer is what was fetched."""
        shard = self.index.shards[number]
        with suppress(FileNotFoundError):
            if _sha256(self._cache.path(shard.sha256)) != shard.sha256:
                self._cache.drop(shard.sha256)

    @property
    def _cache(self) -> Cache:
        assert self.cache is not None, "remote shards are read through a cache"
        return self.cache

    def _fetch(self, name: str, size: int, into: Path) -> None:
        try:
            self.store.fetch(name, size, into)
        except FileNotFoundError as error:
            raise UserError(f"{self.store.locate(name)} is in the index but not there: put it there again") from error

    def _fetch_table(self, name: str):
        def fetch(into: Path) -> None:
            try:
                into.write_bytes(self.store.read(name))
            except FileNotFoundError as error:
                raise UserError(f"{self.store.locate(name)} belongs to the index and is not there") from error

        return fetch

    def _check_shard(self, number: int, path: Path) -> str | None:
        shard = self.index.shards[number]
        if _sha256(path) == shard.sha256:
            return None
        return f"{self.store.locate(shard.name)} does not match its SHA-256 in the index"

    def _check_table(self, number: int):
        shard = self.index.shards[number]

        def check(path: Path) -> str | None:
            try:
                table_from(path.read_bytes(), shard, self.store.locate(shard.table))
            except UserError:
                return f"{self.store.locate(shard.table)} does not match its SHA-256 in the index"
            return None

        return check


@contextmanager
def _read_errors_as_user_error(path: Path) -> Iterator[None]:
    """Turn the system's refusal to read a local file into a `UserError`; a context."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend that, or copy it there again") from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
