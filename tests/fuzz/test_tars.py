"""Damaged tars are refused with the byte, or read as tarfile reads them: never cut silently."""

import io
import tarfile
from collections import Counter
from random import Random

import pytest

from ragdist.config.shards import IndexOptions, ShardOptions
from ragdist.data.indexing.index_shards import index_shards
from ragdist.data.indexing.tar_samples import key_and_extension
from ragdist.data.indexing.tar_walk import TarDamage, walk
from ragdist.data.sources import open_source
from ragdist.tools.errors import UserError
from tests.conftest import encoded, picture
from tests.data_in_the_wild.making import special
from tests.fuzz.damage import damaged

JPEG = encoded(picture(0), "jpeg")
FOLDERS = (tarfile.DIRTYPE, b"D", b"V")


def packed(random: Random, format: int) -> bytes:
    """A tar of pictures, texts, folders, links and long names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for i in range(random.randrange(1, 9)):
            name = f"{random.choice(('cat', 'dog', 'x' * 120))}/{i}.{random.choice(('jpg', 'jpg', 'cls', 'txt'))}"
            if (kind := random.randrange(12)) < 3:
                tar.addfile(special(name, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE)[kind], "cat/0.png"))
                continue
            info = tarfile.TarInfo(name)
            content = JPEG if name.endswith("jpg") else b"%d" % i
            info.size, info.mtime = len(content), random.choice((0, 1.5))
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def by_tarfile(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return tar.getmembers()


def test_walk(rounds):
    originals = [packed(Random(seed), seed % 3) for seed in range(30)]
    for random in rounds(1500):
        data, passed = damaged(random, originals), []
        try:
            found = [
                (m.name, m.offset, m.size) for m in walk(data, lambda kind, name, passed=passed: passed.append(name))
            ]
        except TarDamage:
            continue
        members = by_tarfile(data)
        assert found == [(m.name, m.offset_data, m.size) for m in members if m.isreg()]
        assert passed == [m.name for m in members if not m.isreg() and m.type not in FOLDERS]


def remarked(remarks: list[str]) -> int:
    """How many files and members remarks name as not read."""
    return sum(
        int(line.rpartition(": ")[2].partition(",")[0].replace(",", "")) for line in remarks if "not read" in line
    )


@pytest.mark.parametrize("kind", ["source", "shard"])
def test_all_members_are_read_or_counted(rounds, tmp_path, kind):
    originals = [packed(Random(seed), seed % 3) for seed in range(30)]
    for random in rounds(150):
        data = damaged(random, originals)
        (tmp_path / "a.tar").write_bytes(data)
        try:
            count = (counted_of_source if kind == "source" else counted_of_shard)(tmp_path, data)
        except UserError:
            continue
        members = by_tarfile(data)
        assert count == sum(m.type not in FOLDERS for m in members)


def counted_of_source(folder, data: bytes) -> int:
    source = open_source(str(folder / "a.tar"), ShardOptions(bad="skip", labels="none"), folder)
    for place in source.places:
        assert source.read(place) == data[place[0] : sum(place)]
    return len(source.places) + len(source.ignored) + remarked(source.remarks)


def counted_of_shard(folder, data: bytes) -> int:
    """The members of samples, good and bad, and those that are counted beside them."""
    options = IndexOptions(out=str(folder / "out"), bad="skip", modality="image", processes=1)
    summary = index_shards([str(folder / "a.tar")], options, overwrite=True)
    names = [m.name for m in by_tarfile(data) if m.isreg()]
    keys = Counter(split[0] for name in names if (split := key_and_extension(name)))
    assert summary.index.samples + summary.bad_count == len(keys)
    beside = sum(count for kind, count in summary.ignored.items() if not kind.startswith("."))
    return sum(keys.values()) + beside
