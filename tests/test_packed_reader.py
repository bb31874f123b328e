"""Packed samples from memory: what reading one by one gives, with any room, any damage, from anywhere."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist import shards
from ragdist.config.run import DataOptions
from ragdist.config.shards import CheckOptions
from ragdist.data import index as index_file
from ragdist.data import packed
from ragdist.data.indexing import stats
from ragdist.data.indexing.check import check
from ragdist.data.loader_processes import make_loader
from ragdist.data.order import Order
from ragdist.data.reader import BadSample, ShardReader, SlotDataset, Slots, Updates
from ragdist.data.shard_files import ShardFiles
from ragdist.distributed.world import shares
from ragdist.evaluation.reference_data import DataSet
from ragdist.storage.cache import Cache
from tests.servers import serving
from tests.test_packed import SHARD, N, rows_loaded, save_array, write

pytestmark = pytest.mark.usefixtures("warm_processes")
BATCH = 64
A_SHARD = SHARD * (8 + 9)  # bytes that it takes, with labels and marks
ROOMS = {"none": 0, "two shards": 2 * A_SHARD + 100, "all": 1 << 24}
LOST = 20  # rows at the end of a shard that is cut


@pytest.fixture(scope="module", autouse=True)
def rows():
    with rows_loaded() as module:
        yield module


@pytest.fixture(scope="module")
def data(tmp_path_factory, rows) -> Path:
    place = tmp_path_factory.mktemp("rows")
    write(save_array(place / "a.npz"), place / "data")
    return place / "data"


@pytest.fixture(scope="module")
def damaged(data) -> Path:
    """The data with two rows changed in the second shard, and the end of the third one lost."""
    place = data.parent / "damaged"
    shutil.copytree(data, place)
    second, third = index_file.load(place).shards[1:3]
    content = bytearray((place / second.name).read_bytes())
    for offset in index_file.load_table(place, second)["offset"][[5, 6]].tolist():
        content[offset + 3] ^= 1
    (place / second.name).write_bytes(content)
    end = int(index_file.load_table(place, third)["offset"][-LOST]) + 2
    # As a disk loses it while the system still says the size.
    (place / third.name).write_bytes((place / third.name).read_bytes()[:end])
    return place


def files(where: Path, whole: Path) -> ShardFiles:
    return ShardFiles(where, index_file.load(whole))


@pytest.mark.parametrize("room", ROOMS)
def test_a_batch_is_what_reading_each_gives(data, damaged, room):
    reader, each = ShardReader(files(damaged, data), room=ROOMS[room]), ShardReader(files(damaged, data))
    counts = [shard.samples for shard in reader.index.shards]
    places = [(shard, sample) for shard, count in enumerate(counts) for sample in range(count)]
    torn = [place for place in places if isinstance(each.read(*place), BadSample)]
    sound = st.sampled_from(sorted({*places} - {*torn})) | st.tuples(st.just(0), st.integers(0, 9))
    more = st.just([]) | st.lists(st.sampled_from(torn), min_size=1, max_size=2)
    batches = st.tuples(st.lists(sound, min_size=1, max_size=10), more).flatmap(
        lambda both: st.permutations([*both[0], *both[1]])
    )
    seen = {"bad": 0, "good": 0}

    @settings(max_examples=150, deadline=None)
    @given(batches)
    def agree(batch):
        found = reader.read_batch(*np.array(batch).T)
        expected = [each.read(*place) for place in batch]
        if any(isinstance(one, BadSample) for one in expected):
            seen["bad"] += 1
            assert found is None
            return
        seen["good"] += 1
        samples, labels = zip(*expected, strict=True)
        assert torch.equal(found[0], torch.stack(samples))
        assert found[0].dtype == torch.uint8
        assert torch.equal(found[1], torch.tensor(labels))

    agree()
    assert min(seen.values()) > 5


def dataset(where: Path, whole: Path, *, room: int = 1 << 24, rank: int = 0, world: int = 1) -> SlotDataset:
    found = files(where, whole)
    order = Order([shard.samples for shard in found.index.shards], found.index.digest, 3, 4, 2000)
    slots = shares(BATCH, world)[rank]
    return SlotDataset(ShardReader(found, room=room), order, 3, 5, BATCH, slots, DataOptions())


def stream(sets: list[SlotDataset], workers: int = 0) -> list[Slots]:
    """What the ranks together get through more than one epoch."""
    updates = Updates(0, N + 10 * BATCH, BATCH)
    ranks = [make_loader(part, updates, workers=workers, prefetch=2, pin=False) for part in sets]
    return [
        Slots(*(torch.cat(part) for part in list(zip(*step, strict=True))[:3]), [bad for s in step for bad in s.bad])
        for step in zip(*ranks, strict=True)
    ]


def equal(one: list[Slots], other: list[Slots]) -> bool:
    return len(one) == len(other) and all(
        all(map(torch.equal, a[:3], b[:3])) and a.bad == b.bad for a, b in zip(one, other, strict=True)
    )


def test_ranks_loader_processes_and_room_do_not_change_the_stream(data):
    expected = stream([dataset(data, data, room=0)])
    for room in ROOMS.values():
        assert equal(stream([dataset(data, data, room=room, rank=r, world=3) for r in range(3)]), expected)
    assert equal(stream([dataset(data, data)], workers=2), expected)


def test_bad_rows_are_named_and_others_stand_in_as_without_memory(data, damaged):
    expected, found = (stream([dataset(damaged, data, room=room)]) for room in (0, 1 << 24))
    assert equal(found, expected)
    said = {str(bad).partition(": ")[2] for slots in found for bad in slots.bad}
    offset = int(index_file.load_table(data, index_file.load(data).shards[1])["offset"][5])
    assert f"sample 5 (row 5 of 000000900.rows.npy) at byte {offset}: its bytes changed since it was indexed" in said
    assert sum("was cut off" in line for line in said) == LOST
    assert len(said) == LOST + 2


def test_an_evaluation_reads_all_but_the_bad(tmp_path, data, damaged):
    whole, there = DataSet(str(data), tmp_path).samples(np.arange(N)[::-1].copy())
    assert there.all()
    reference = DataSet(str(data), tmp_path)
    reference.reader = ShardReader(files(damaged, data))
    samples, there = reference.samples(np.arange(N)[::-1].copy())
    assert torch.equal(samples[there], whole[there])
    assert len(reference.bad) == (~there).sum() == LOST + 2
    batches = list(reference.batches(np.arange(N), 1000))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), reference.labels[there.flip(0)])


def test_a_shard_that_rots_in_the_cache_is_fetched_again(tmp_path, data):
    (tmp_path / "nginx").mkdir()
    shutil.copytree(data, tmp_path / "root")
    index, cache = index_file.load(data), Cache(tmp_path / "cache", 10**9)
    shard, batch = index.shards[3], (np.full(BATCH, 3), np.arange(BATCH))
    expected = ShardReader(files(data, data)).read_batch(*batch)
    with serving(tmp_path / "root", tmp_path / "nginx") as server:
        remote = ShardFiles(server.url, index, cache)
        remote.fetch(3)
        path = tmp_path / "cache" / shard.sha256[:2] / shard.sha256
        content = bytearray(path.read_bytes())
        content[int(index_file.load_table(data, shard)["offset"][7])] ^= 1
        path.write_bytes(content)
        reader = ShardReader(remote)
        assert reader.read_batch(*batch) is None
        sample, label, bad = reader.read_or_next(3, 7)
        assert not bad
        assert torch.equal(sample, expected[0][7])
        assert label == expected[1][7]
        assert all(map(torch.equal, reader.read_batch(*batch), expected))


# Commands.


def lines_of(where: Path, capsys, reader: str = "") -> tuple[list[str], int]:
    summary = check(str(where), CheckOptions(processes=1), reader)
    found = [line for line in capsys.readouterr().out.splitlines() if "samples checked" not in line]
    assert len(found) == summary.wrong
    return found, summary.right


def test_a_check_finds_every_damage_and_nothing_else(data, damaged, capsys):
    assert lines_of(data, capsys, "webdataset") == ([], N)
    found, right = lines_of(damaged, capsys)
    assert right == N - LOST - 2
    text = "\n".join(found)
    assert "shard-000001.tar: its bytes do not match its SHA-256" in text
    assert "shard-000001.tar: sample 6 (row 6 of 000000900.rows.npy) at byte" in text
    assert f"shard-000002.tar: {LOST} samples lie beyond the end of the file" in text


def rewritten(data: Path, place: Path, change) -> None:
    """A copy whose first shard holds other labels or rows than its index says."""
    shutil.copytree(data, place)
    path = place / index_file.load(place).shards[0].name
    content = bytearray(path.read_bytes())
    change(content, index_file.load_table(place, index_file.load(place).shards[0]))
    path.write_bytes(content)


def test_a_comparison_says_what_webdataset_reads_otherwise(data, tmp_path, capsys):
    def other_label(content: bytearray, table: np.ndarray) -> None:
        at = content.index(table["label"].tobytes())
        content[at] = (content[at] + 1) % 3

    def renamed(content: bytearray, table: np.ndarray) -> None:
        at = content.index(b"000000000.labels")
        header = content[at : at + 512]
        header[:9], header[148:156] = b"000000001", b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        content[at : at + 512] = header

    rewritten(data, tmp_path / "label", other_label)
    found = "\n".join(lines_of(tmp_path / "label", capsys, "webdataset")[0])
    assert "shard-000000.tar: sample 0 (row 0 of 000000000.rows.npy): webdataset's label is" in found
    rewritten(data, tmp_path / "named", renamed)
    found = lines_of(tmp_path / "named", capsys, "webdataset")[0]
    assert sum("webdataset gives it without its label" in line for line in found) == SHARD


def test_statistics(data):
    lines = stats.read(str(data)).lines()
    assert f"samples  {N:,} of shape [8] (rows)" in lines
    assert "         of a sample: min 8, median 8, max 8" in lines
    assert any(line.startswith("classes  3 of 2,000 samples") for line in lines)
    assert shards.check([str(data), "--processes=1"]) == 0
    assert packed.place_in_member(index_file.load_table(data, index_file.load(data).shards[0]), 7)[1] == 7
