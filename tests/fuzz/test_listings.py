"""Damaged listings are refused, or all of their rows are read: none is lost silently."""

import csv
import io
import json
from random import Random

import pytest

from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.sources import open_source
from ragdist.tools.errors import UserError
from tests.fuzz.damage import damaged

SEPARATORS = (",", ";", "\t", "|")


def of_csv(random: Random) -> bytes:
    separator = random.choice(SEPARATORS)
    rows = [random.choice((["path", "label"], ["more", "image", "class"], ["file"]))]
    for i in range(random.randrange(1, 12)):
        name = random.choice((f"{i}.png", f"a b/{i}.jpg", f"k\xe4tzchen,{i}.png", f'"{i}".png'))
        about = {"label": f"{i % 3}", "class": f"c{i % 3}", "more": "a\nb" if random.random() < 0.1 else "x"}
        rows.append([about.get(column, name) for column in rows[0]])
    quote = {True: lambda cell: '"' + cell.replace('"', '""') + '"', False: lambda cell: cell}
    needs = {"\n", '"', separator}
    lines = [
        separator.join(quote[bool(needs & {*cell}) or random.random() < 0.2](cell) for cell in row) for row in rows
    ]
    return (
        random.choice(("", "\ufeff", "sep=" + separator + "\n")) + random.choice(("\n", "\r\n")).join(lines)
    ).encode()


def of_words(random: Random) -> bytes:
    return "\n".join(f"a b/{i}.png {random.choice(('cat', '3'))}" for i in range(random.randrange(1, 12))).encode()


def of_jsonl(random: Random) -> bytes:
    rows = [{"path": f"{i}.png", "label": random.choice((0, "1", "\xe4"))} for i in range(random.randrange(1, 12))]
    return "\n".join(json.dumps(row, ensure_ascii=random.random() < 0.5) for row in rows).encode()


def of_json(random: Random) -> bytes:
    pairs = [(f"{i}.png", i % 3) for i in range(random.randrange(1, 12))]
    objects = [{"file_name": path, "label": label} for path, label in pairs]
    return json.dumps(random.choice((pairs, objects, dict(pairs), {"labels": pairs}))).encode()


def csv_counts(text: str) -> set[int]:
    """How many rows a text can have, by the csv module with any separator, with names of columns and without."""
    if text[:4].lower() == "sep=":
        text = text.partition("\n")[2]
    found = set()
    for separator in SEPARATORS:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        count = sum(any(cell.strip() for cell in cells) for cells in rows)
        found |= {count, count - 1}
    return found


def lines(text: str) -> set[int]:
    return {sum(bool(line.strip()) for line in text.split("\n"))}


def entries(text: str) -> set[int]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return lines(text)
    return (
        {len(content), *(len(value) for value in content.values() if isinstance(value, list))}
        if isinstance(content, dict)
        else {len(content)}
    )


@pytest.mark.parametrize(
    ("name", "make", "counts"),
    [("a.csv", of_csv, csv_counts), ("a.txt", of_words, lines), ("a.jsonl", of_jsonl, lines), ("a.json", of_json, entries)],
    ids=["csv", "txt", "jsonl", "json"],
)  # fmt: skip
def test_listings(rounds, tmp_path, name, make, counts):
    originals = [make(Random(seed)) for seed in range(30)]
    path = tmp_path / name
    for random in rounds(600):
        data = damaged(random, originals)
        path.write_bytes(data)
        try:
            source = open_source(str(path), ShardOptions(bad="skip"), tmp_path)
        except UserError:
            continue
        if source.names == ["a.txt"]:  # nothing in it is like a file's name any more: it is a text
            continue
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        assert len(source.places) in counts(text)
        assert len(source.labels) in (0, len(source.places))


def test_index(rounds):
    shard = index_file.Shard("a.tar", "a.npy", 10_240, 3, "0" * 64, "1" * 64)
    index = index_file.Index("image", (3, 8, 8), ("cat", "k\xe4tzchen"), (shard, shard))
    for random in rounds(600):
        try:
            found = index_file.loads(damaged(random, [index.dumps().encode()]), "index.json")
        except UserError:
            continue
        assert found.digest == index.digest, "only names of files may be others"
