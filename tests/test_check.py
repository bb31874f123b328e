"""A check finds every kind of damage, says where it is, and goes on; stats say what is there."""

import mmap
import os
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from ragdist import shards
from ragdist.config.shards import CheckOptions
from ragdist.data import index as index_file
from ragdist.data.indexing import compare_webdataset, stats
from ragdist.data.indexing.check import check
from ragdist.data.writing import tar_writer
from tests.conftest import command, refused

SHARDS = "ragdist.shards"


@pytest.fixture
def copy(tmp_path, digits):
    shutil.copytree(digits, tmp_path / "data")
    return tmp_path / "data"


def found(copy, capsys) -> tuple[list[str], int]:
    """The lines that a check prints, and how many samples are right."""
    summary = check(str(copy), CheckOptions(processes=1))
    lines = [line for line in capsys.readouterr().out.splitlines() if "samples checked" not in line]
    assert len(lines) == summary.wrong
    return lines, summary.right


def test_a_whole_data_set(digits):
    result = command(SHARDS, "check", digits, "--processes=2", cwd=digits)
    assert result.returncode == 0, result.stderr
    assert "all is well: 1,797 samples in 3 shards" in result.stdout


def test_everything_that_is_broken_is_said_and_the_rest_is_checked(copy, tmp_path):
    index = index_file.load(copy)
    offset = int(index_file.load_table(copy, index.shards[1])[5]["offset"])
    data = bytearray((copy / "shard-000001.tar").read_bytes())
    data[offset + 50] ^= 1
    (copy / "shard-000001.tar").write_bytes(data)
    (copy / "shard-000000.tar").unlink()
    (copy / "shard-000002.tar").write_bytes((copy / "shard-000002.tar").read_bytes()[:100_000])
    result = command(SHARDS, "check", "data", "--processes=2", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    text = result.stdout
    assert "shard-000000.tar is in the index but not there" in text
    assert (
        f"shard-000001.tar: sample 5 (000000705.png) at byte {offset}: its bytes changed since it was indexed" in text
    )
    assert "shard-000001.tar: its bytes do not match its SHA-256" in text
    assert "shard-000002.tar has 100,000 bytes and the index says" in text
    assert "samples lie beyond the end of the file" in text
    assert "in 3 of 3 shards" in text
    assert text.count("sample 5 ") == 1


def test_damage_outside_the_samples_is_found(copy, capsys):
    data = bytearray((copy / "shard-000000.tar").read_bytes())
    data[100] ^= 1  # a header
    (copy / "shard-000000.tar").write_bytes(data)
    lines, right = found(copy, capsys)
    assert right == 1797
    assert len(lines) == 1
    assert "do not match its SHA-256" in lines[0]


def test_a_missing_and_a_changed_table(copy, capsys):
    (copy / "shard-000000.npy").unlink()
    table = np.load(copy / "shard-000001.npy")
    table["label"][0] ^= 1
    np.save(copy / "shard-000001.npy", table)
    lines, right = found(copy, capsys)
    assert "shard-000000.npy is in the index but not there" in lines[0]
    assert "shard-000001.npy was changed" in lines[1]
    assert right == 397


def rewrite(copy, number: int, change) -> None:
    """An index and a table that fit each other, and say something else."""
    import hashlib
    from dataclasses import replace

    index = index_file.load(copy)
    shards = list(index.shards)
    table = index_file.load_table(copy, shards[number]).copy()
    change(table)
    np.save(copy / shards[number].table, table)
    shards[number] = replace(shards[number], table_sha256=hashlib.sha256(table.tobytes()).hexdigest())
    (copy / "index.json").write_text(replace(index, shards=tuple(shards)).dumps())


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("label", 10, "its label 10 is none of the 10 classes"),
        ("label", -2, "its label -2"),
        ("offset", 2**64 - 1, "lie beyond"),
        ("offset", 2**40, "lie beyond"),
        ("offset", 3, "its bytes changed"),
        ("length", 0, "its bytes changed"),
    ],
)
def test_a_table_that_lies(copy, capsys, column, value, says):
    def change(table):
        table[column][7] = value

    rewrite(copy, 2, change)
    lines, right = found(copy, capsys)
    assert len(lines) == 1
    assert says in lines[0]
    assert right == 1796


def test_a_sample_that_is_no_image(copy, capsys):
    import zlib

    data = (copy / "shard-000002.tar").read_bytes()

    def change(table):
        table["length"][7] -= 20
        at, length = int(table["offset"][7]), int(table["length"][7])
        table["crc32"][7] = zlib.crc32(data[at : at + length])

    rewrite(copy, 2, change)
    lines, _ = found(copy, capsys)
    assert "sample 7 (000001407.png)" in lines[0]
    assert "cannot be decoded" in lines[0]


def test_a_damaged_index_is_broken_and_a_missing_one_a_mistake(copy, tmp_path):
    (copy / "index.json").write_text((copy / "index.json").read_text().replace("700", "699", 1))
    result = command(SHARDS, "check", "data", cwd=tmp_path)
    assert result.returncode == 1
    assert "was changed after it was written" in result.stdout
    (copy / "index.json").unlink()
    assert "no index.json" in refused(command(SHARDS, "check", "data", cwd=tmp_path))
    assert "no data folder at nowhere" in refused(command(SHARDS, "check", "nowhere", cwd=tmp_path))


def test_stats_and_thumbnails(copy, tmp_path):
    result = command(SHARDS, "stats", "data", "--out=page.png", "--rows=4", "--columns=5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "samples  1,797 of shape [1, 8, 8] (image)" in lines
    assert "shards   3 of 397 to 700 samples" in lines
    assert "classes  10 of 174 to 183 samples" in lines
    bars = {
        line.split()[0]: (int(line.split()[1]), line.split()[2])
        for line in lines
        if line.startswith("  ") and "#" in line
    }
    assert bars["3"] == (183, "#" * 40)
    assert bars["8"] == (174, "#" * 38)
    page = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert page.shape[0] == 4 * 66 + 2
    assert page.shape[1] > 5 * 66
    assert page.std() > 20, "there are pictures on it"


def test_a_row_shows_its_class_only(digits):
    counted = stats.read(str(digits))
    page = stats.pick(counted, rows=10, columns=6)
    assert [name for name, _ in page] == [str(i) for i in range(10)]
    index = counted.index
    from ragdist.data.reader import ShardReader
    from ragdist.data.shard_files import ShardFiles

    reader = ShardReader(ShardFiles(digits, index))
    every = [reader.read(s, n) for s, shard in enumerate(index.shards) for n in range(shard.samples)]
    for label, (_, samples) in enumerate(page):
        own = {image.numpy().tobytes() for image, its in every if its == label}
        assert len(samples) == 6
        assert all(image.numpy().tobytes() in own for image in samples)


def test_mistakes_get_one_line(tmp_path, digits):
    assert "--rows" in refused(command(SHARDS, "stats", digits, "--rows=0", cwd=tmp_path))
    assert "no data folder at x" in refused(command(SHARDS, "stats", "x", cwd=tmp_path))
    assert "cannot write" in refused(command(SHARDS, "stats", digits, "--out=/proc/x/a.png", cwd=tmp_path))


def test_a_folder_of_a_commands_name_is_still_a_source(tmp_path, class_folders):
    os.rename(class_folders, tmp_path / "stats")
    result = command(SHARDS, "./stats", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "6 samples" in result.stdout


def with_webdataset(where, capsys) -> tuple[int | None, list[str]]:
    code = shards.main(["check", str(where), "--with", "webdataset", "--processes", "1"])
    return code, capsys.readouterr().out.splitlines()


def test_webdataset_gives_what_the_index_says(digits, capsys):
    code, lines = with_webdataset(digits, capsys)
    assert code == 0
    assert "all is well: 1,797 samples" in lines[-1]


@pytest.mark.parametrize(("order", "says"), [
    ("a.png b.png a.cls b.cls", "gives it in 2 parts"), ("a.png a.cls b.png b.cls c.png", "1 samples that the index does not"),
    ("a.png a.cls", "(__b): webdataset does not give it"), ("a.png A.cls b.png", "no member of the tar begins at byte"),
])  # fmt: skip
def test_what_webdataset_loses_is_said(order, says, tmp_path):
    """The table is of a.png and b.png with label 1, wherever they lie; the tar holds the members in that order."""
    content, table = b"", []
    for name in order.split():
        payload = name.encode() if name.endswith("png") else b"1"
        if name in ("a.png", "b.png"):
            table.append((len(content) + 512, len(payload), zlib.crc32(payload), 1))
        content += tar_writer.member(name, payload)
    if says.startswith("(__b)"):
        table.append((len(content) + 512, 5, zlib.crc32(b"b.png"), 1))
        content += tar_writer.member("__b.png__", b"b.png")
    elif says.startswith("no member"):
        table[-1] = (table[-1][0] + 1, *table[-1][1:])
    (tmp_path / "x.tar").write_bytes(content + tar_writer.ending(len(content)))
    index = index_file.Index("image", (1, 8, 8), ("0", "1"), ())
    with open(tmp_path / "x.tar", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = compare_webdataset.compare(data, "x.tar", np.array(table, index_file.TABLE), index)
    assert any(says in line for line in found), found


def test_another_payload_and_another_label_of_webdataset_are_said(tmp_path):
    content = tar_writer.member("a.png", b"xyz") + tar_writer.member("a.cls", b"1")
    (tmp_path / "x.tar").write_bytes(content + tar_writer.ending(len(content)))
    index = index_file.Index("image", (1, 8, 8), ("0", "one", "two"), ())
    with open(tmp_path / "x.tar", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for crc, label, says in ((7, 1, "other bytes"), (zlib.crc32(b"xyz"), 2, "label is 1, the index says 2 (two)")):
            table = np.array([(512, 3, crc, label)], index_file.TABLE)
            (line,) = compare_webdataset.compare(data, "x.tar", table, index)
            assert says in line
        right = np.array([(512, 3, zlib.crc32(b"xyz"), 1)], index_file.TABLE)
        assert compare_webdataset.compare(data, "x.tar", right, index) == []
