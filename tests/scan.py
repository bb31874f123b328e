"""An index entry and a table from what tarfile and NumPy read of a shard: what those that the writer made have to be."""

import hashlib
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from ragdist.data.index import NO_LABEL, TABLE, Shard


def scan(path: Path, payload: str) -> tuple[Shard, np.ndarray]:
    """Scan a finished tar for its index entry and its table.

    Args:
        path: the tar; a sample is a run of members with one key, a payload and perhaps KEY.cls. Where the payload is
            rows.npy its rows are samples, with labels in KEY.labels.npy.
        payload: its extension.
    """
    records: dict[str, list[list[int]]] = {}  # by key: offset, length, CRC-32, label of each sample
    labels: dict[str, list[int]] = {}
    with open(path, "rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            data = tar.extractfile(member).read()
            if extension == payload:
                assert key not in records, f"{path} holds the key {key} twice"
                parts = [data]
                if payload == "rows.npy":
                    parts = [row.tobytes() for row in np.load(io.BytesIO(data))]
                start = member.offset_data + len(data) - sum(map(len, parts))
                records[key] = [
                    [start + i * len(part), len(part), zlib.crc32(part), NO_LABEL] for i, part in enumerate(parts)
                ]
            else:
                assert extension in ("cls", "labels.npy")
                labels[key] = [int(data)] if extension == "cls" else np.load(io.BytesIO(data)).tolist()
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    for key, found in labels.items():
        for record, label in zip(records[key], found, strict=True):
            record[3] = label
    table = np.array([tuple(record) for part in records.values() for record in part], TABLE)
    table_sha256 = hashlib.sha256(table.tobytes()).hexdigest()
    return Shard(path.name, f"{path.stem}.npy", path.stat().st_size, len(table), sha256, table_sha256), table
