"""Shards as others pack them: what is no sample is counted, and what is no shard gets one advice."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import png, special, tar_of


def shards(*contents: Mapping[str, bytes], **named: bytes):
    """Writes tars of these members, or files of these bytes; returns their paths."""

    def make(folder: Path) -> list[Path]:
        files = {f"{i}.tar": tar_of(content.items()) for i, content in enumerate(contents)}
        files |= {f"{name}.tar": content for name, content in named.items()}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return [folder / name for name in files]

    return make


def labelled(*labels: bytes) -> dict[str, bytes]:
    return {f"{i}.{kind}": data for i, c in enumerate(labels) for kind, data in (("png", png(i)), ("cls", c))}


WHOLE = tar_of(labelled(b"0", b"1").items())
DOTTED = {f"frame.{i:04d}.png": png(0) for i in range(200)}

CASES = [
    Case("a gzip called .tar", shards(a=gzip.compress(WHOLE)), refused="a.tar is no shard: it is compressed, with gzip: unpack it", never=["get it again", "damaged"]),
    Case("Zstandard called .tar", shards(a=b"\x28\xb5\x2f\xfd" + bytes(600)), refused="with Zstandard", never=["get it again"]),
    Case("a small gzip called .tar", shards(a=gzip.compress(b"")), refused="compressed, with gzip"),
    Case("a text called .tar", shards(a=b"what is this?" * 100), refused="no shard: it is no tar", never=["get it again"]),
    Case("a name with dots for each frame", shards(DOTTED), refused="it has no image but .0000.png, .0001.png, .0002.png, .0003.png, .0004.png and 195 more"),
    Case("labels in .json that were not asked for", shards({"0.png": png(), "0.json": b'{"label": 3}'}), taken={None: 1}, says=["--label label"]),
    Case("digits as texts in .json", shards({f"{i}.{k}": d for i in (2, 10) for k, d in (("png", png(i)), ("json", b'{"y": "%d"}' % i))}), options=["--label=y"], taken={"2": 1, "10": 1}),
    Case("characters as labels", shards(labelled(b"7", b"x", b"X")), taken={"7": 1, "x": 1, "X": 1}),
    Case("characters in two shards", shards(labelled(b"7"), {k.replace("0", "1"): d for k, d in labelled(b"x").items()}), taken={"7": 1, "x": 1}),
    Case("links and pipes", shards(a=tar_of([*labelled(b"0").items(), special("l.png", b"2", "0.png"), special("h.png", b"1", "0.png"), special("p", b"6")])), taken={"0": 1}, says=["1 symbolic links", "1 hard links", "1 devices and pipes"]),
    Case("a folder and a volume's name", shards(a=tar_of([special("x", b"5"), *labelled(b"0").items()])), taken={"0": 1}, never=["ignored"]),
    Case("a sparse file", shards(a=tar_of([special("s.png", b"S"), *labelled(b"0").items()])), refused="s.png is stored with holes"),
]  # fmt: skip


@pytest.mark.parametrize("case", [Case(**{**vars(case), "index": True}) for case in CASES], ids=str)
def test_shards(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
