"""The index of a data set: shards, sizes, digests, and tables with the byte range and label of each sample.

A data set is WebDataset tars, a folder with ``index.json``, and in that folder a table for each shard:

    index.json         codec, sample shape, classes; name, bytes, samples and SHA-256 of each shard
    shard-000000.tar   samples as members KEY.jpg (or .png) and KEY.cls
    shard-000000.npy   one TABLE record a sample: where its payload is, its CRC-32, its label

Shards written by ragdist lie beside their index; those of others stay where they are, and the index
names them by path or URL. The index's digest names the data, wherever they lie: it is part of what a
run is a function of.

An index is written in the oldest version that can say all of it, and its digest is over that version's number and what
the index says. A field that joined later is neither written nor part of the digest where it is empty. So a digest stays
what it is however many versions and fields follow.
"""

import hashlib
import io
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ragdist import modalities
from ragdist.config import migrations
from ragdist.modalities import MODALITIES
from ragdist.modalities.base import Form
from ragdist.networks import HEADS
from ragdist.storage.files import is_sha256
from ragdist.storage.store import Store
from ragdist.tools.errors import TooNew, UserError

FORMAT, VERSION = "ragdist-index", 2
INDEX = "index.json"
NO_LABEL = -1
_PLACES = ("name", "table")  # of a shard: where it is, which the digest leaves out

# Byte range and CRC-32 of a sample's payload in its shard; the label is a class number, or NO_LABEL.
TABLE = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc32", "<u4"), ("label", "<i8")])


@dataclass(frozen=True)
class Shard:
    """One tar and its table."""

    name: str  # of the tar: in the index's folder, or an absolute path or URL
    table: str  # file name of the table, in the index's folder
    bytes: int  # of the tar
    samples: int
    sha256: str  # of the tar
    table_sha256: str  # of the table's records


@dataclass(frozen=True)
class Index:
    """All that is known of a data set without reading a sample; later fields have ``since``, a version."""

    codec: str  # the modality: a name in `modalities.MODALITIES`
    shape: tuple[int, ...]  # stored: of a decoded sample, as (channels, height, width) of an image
    classes: tuple[str, ...]  # names of the labels 0, 1, ...; empty: no labels
    shards: tuple[Shard, ...]
    # What the numbers of a decoded sample are, as {"rate": 16000, ...}; empty: those of an image of 8 bits a channel.
    spec: dict[str, Any] = field(default_factory=dict, hash=False, metadata={"since": 2})

    @property
    def version(self) -> int:
        """The oldest version of the format that can say all of it."""
        return max(1, *(_version(item) for item in (self, *self.shards)))

    @property
    def form(self) -> Form:
        """The form of the samples."""
        return Form(self.shape, self.spec)

    @property
    def packages(self) -> dict[str, str]:
        """The installed packages that the modality and G's output head are from; empty: the project, or a plugin."""
        head = modalities.training(self.codec).head
        return {"modality": MODALITIES.provenance(self.codec), "head": HEADS.provenance(head) if head in HEADS else ""}

    @property
    def samples(self) -> int:
        """Samples of all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def _content(self) -> dict[str, Any]:
        """What the file says, but for the digest."""
        content = {"format": FORMAT, "version": self.version, "samples": self.samples, **_filled(self)}
        del content["shards"]  # which go last
        return content | {"shards": [_filled(shard) for shard in self.shards]}

    @property
    def digest(self) -> str:
        """SHA-256 of the index's facts about the data, wherever they lie: 64 hexadecimal digits."""
        content = self._content()
        content["shards"] = [{k: v for k, v in s.items() if k not in _PLACES} for s in content["shards"]]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def dumps(self) -> str:
        """The text of index.json, with the digest."""
        return json.dumps({**self._content(), "digest": self.digest}, indent=1) + "\n"


def _filled(item: Index | Shard) -> dict[str, Any]:
    """The fields, without later ones that are empty."""
    values = {part.name: getattr(item, part.name) for part in fields(item)}
    return {part.name: values[part.name] for part in fields(item) if values[part.name] or "since" not in part.metadata}


def _version(item: Index | Shard) -> int:
    return max((part.metadata.get("since", 1) for part in fields(item) if getattr(item, part.name)), default=1)


def load(where: Path | str, made_with: str = "") -> Index:
    """Load a data set's index, checked against itself and against the sizes of local shards.

    Args:
        where: the folder, by path or URL.
        made_with: options of `ragdist.shards` that make such data, for the message that there are none.

    Raises:
        UserError: no folder, no index, another format, or an index that does not match its shards.
    """
    store = Store(where)
    index = loads(find(store, made_with), store.locate(INDEX))
    for shard in index.shards:
        store.locate(shard.table)
        if (tar := store.path(shard.name)) is None:
            continue  # its size and content are checked when it is fetched
        for file in (tar, store.path(shard.table)):
            if file and not file.is_file():
                raise UserError(f"{file} is in the index but not there: copy it there or write the shards again")
        if tar.stat().st_size != shard.bytes:
            raise UserError(
                f"{tar} has {tar.stat().st_size:,} bytes and the index says {shard.bytes:,}: "
                "it was cut off or changed; copy it again or write the shards again"
            )
    return index


def find(store: Store, made_with: str = "") -> bytes:
    """Read index.json from a folder; ``made_with`` as `load` takes it.

    Raises:
        UserError: there is none; the line says what to do.
    """
    try:
        return store.read(INDEX, attempts=4)  # a wrong address should be said soon
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(_nothing_there(store, made_with)) from error
    except OSError as error:
        raise UserError(f"{store.locate(INDEX)} cannot be read ({error.strerror})") from error


def loads(text: str | bytes, path: str) -> Index:
    """Parse an index and check it against itself; ``path`` is for messages.

    Raises:
        UserError: it is damaged, of another format, or holds no samples.
    """
    try:
        content = json.loads(text)
        migrations.check_format(content, FORMAT, VERSION, path)
        _refuse_unknown(content, path)
        _check_types(content)
        shards = tuple(Shard(**_known(shard, Shard)) for shard in content["shards"])
        if not all(is_sha256(digest) for shard in shards for digest in (shard.sha256, shard.table_sha256)):
            raise UserError(f"{path} is damaged (a SHA-256 is none): write the shards again")
        lists = {"shape": tuple(content["shape"]), "classes": tuple(content["classes"]), "shards": shards}
        index = Index(**_known(content, Index) | lists)
        digest = content["digest"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): write the shards again") from error
    if digest != index.digest:
        raise UserError(f"{path} was changed after it was written (its digest does not fit): write the shards again")
    check_modality(index.codec, path)
    check_spec(index.codec, index.spec, path)
    if not index.samples:
        raise UserError(f"{path} holds no samples")
    return index


def check_modality(name: str, where: str) -> None:
    """Refuse a modality that is not known here: raises TooNew. ``where`` is the file that names it."""
    if name not in MODALITIES:
        raise TooNew(
            f"{where} holds samples of the modality '{name}', which is not here: give the plugin that adds it, as "
            "--plugin FILE, or install its package or a newer ragdist"
        )


def check_spec(codec: str, spec: dict[str, Any], where: str, version: str | None = None) -> None:
    """Refuse a ``spec`` that the modality does not know: raises TooNew. ``version`` wrote the file ``where``."""
    known = modalities.making(codec).spec
    migrations.refuse_unknown([f"spec.{key}" for key in spec if key not in known], where, version)


def _known(content: dict, kind: type) -> dict[str, Any]:
    """The fields of a kind that are there; what joined later may be missing."""
    return {part.name: content[part.name] for part in fields(kind) if part.name in content or not part.metadata}


def _refuse_unknown(content: dict, path: str) -> None:
    """Refuse an index with fields that are not known here and not empty: raises TooNew."""

    def unknown(item: dict, known: Iterable[str]) -> set[str]:
        return {name for name, value in item.items() if value and name not in known}

    mine = {"format", "version", "samples", "digest", *(part.name for part in fields(Index))}
    more = [unknown(content, mine), *(unknown(s, {part.name for part in fields(Shard)}) for s in content["shards"])]
    migrations.refuse_unknown(sorted(set().union(*more)), path, content.get("ragdist"))


def _check_types(content: dict) -> None:
    """Check the types of an index's fields, for the file may be anyone's. Raises TypeError or ValueError."""
    wholes = [*content["shape"], *(shard[key] for shard in content["shards"] for key in ("bytes", "samples"))]
    texts = [
        content["codec"],
        *content["classes"],
        *(shard[key] for shard in content["shards"] for key in ("name", "table")),
    ]
    if any(type(number) is not int for number in wholes) or any(type(text) is not str for text in texts):
        raise TypeError("a field is of another type")
    if not isinstance(content.get("spec", {}), dict):
        raise TypeError("its spec is none")
    if not all(0 < number < 2**63 for number in content["shape"]) or any(number < 0 for number in wholes):
        raise ValueError("a number is out of range")


def _nothing_there(store: Store, made_with: str) -> str:
    out = shlex.quote(str(store.where))
    making = f"`python -m ragdist.shards SOURCE {out}{made_with and ' '}{made_with}`"
    if store.local is None:
        return f"no {INDEX} at {store.where}: make shards there with {making}"
    if not store.local.is_dir():
        return f"no data folder at {store.where}: make shards with {making}"
    if any(store.local.glob("*.tar")):
        return f"{store.where} holds shards but no {INDEX}: make one with `python -m ragdist.shards index {out}`"
    return f"{store.where} holds no shards: make some with {making}"


def table_from(data: bytes, shard: Shard, path: str) -> np.ndarray:
    """Parse a shard's table: TABLE records [samples]; ``path`` is for messages.

    Raises:
        UserError: it is not the table of this shard.
    """
    try:
        if len(data) > TABLE.itemsize * shard.samples + 4096:
            raise ValueError("it is too large")
        table = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise UserError(f"{path} is damaged ({error}): write the shards again") from error
    if table.dtype != TABLE or table.shape != (shard.samples,):
        raise UserError(f"{path} is not the table of {shard.name}: write the shards again")
    if hashlib.sha256(table.tobytes()).hexdigest() != shard.table_sha256:
        raise UserError(f"{path} was changed after it was written: write the shards again")
    return table


def load_table(where: Path | str, shard: Shard) -> np.ndarray:
    """Load the table of a shard of the data set at ``where``."""
    store = Store(where)
    return table_from(store.read(shard.table), shard, store.locate(shard.table))
