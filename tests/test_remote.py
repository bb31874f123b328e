"""Shards behind a URL: the same stream as from a local folder, whatever the network does."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ragdist.config.run import DataOptions
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.loader_processes import make_loader
from ragdist.data.order import Order
from ragdist.data.prefetch import Prefetcher
from ragdist.data.reader import ShardReader, SlotDataset, Updates
from ragdist.data.shard_files import ShardFiles
from ragdist.data.writing.writer import write_shards
from ragdist.distributed.world import shares
from ragdist.evaluation.reference_data import DataSet
from ragdist.storage.cache import Cache
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import owner_name
from tests.conftest import TINY, command, refused
from tests.servers import s3_client, serving

pytestmark = pytest.mark.usefixtures("warm_processes")
TRAIN = "ragdist.train"
BATCH = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The 8x8 digits as 18 shards of about 200 KB."""
    out = tmp_path_factory.mktemp("data") / "digits"
    write_shards("digits", out, ShardOptions(shard_samples=100))
    return out


@pytest.fixture
def nginx(tmp_path, data):
    root = tmp_path / "root"
    shutil.copytree(data, root)
    (tmp_path / "nginx").mkdir()
    with serving(root, tmp_path / "nginx") as server:
        yield server


class Reading:
    """A worker that reads a data set as the trainer does, without the training."""

    def __init__(self, where, cache: Path, *, limit=1e9, lanes: int = 8, batch: int = BATCH, rank=0, world=1):
        self.index = index_file.load(where)
        self.files = ShardFiles(where, self.index, Cache(cache, int(limit)))
        self.order = Order([s.samples for s in self.index.shards], self.index.digest, 0, lanes, 50)
        self.slots = shares(batch, world)[rank]
        self.batch = batch
        self.seen, self.reach, self.bad = 0, int(0.8 * limit), []

    def read(self, samples: int = 1797, *, loader_workers: int = 0, each=lambda seen: None) -> str:
        """A digest of the stream of so many samples from sample ``seen`` on."""
        digest = hashlib.sha256()
        dataset = SlotDataset(
            ShardReader(self.files, 16),
            self.order,
            0,
            8,
            self.batch,
            self.slots,
            DataOptions(crop_padding=0, flip=False),
        )
        loader = make_loader(
            dataset, Updates(self.seen, samples, self.batch), workers=loader_workers, prefetch=2, pin=False
        )
        with Prefetcher(
            self.files, self.order, self.batch, self.slots, lambda: self.seen, stop=samples, reach=self.reach
        ):
            for slots in loader:
                if isinstance(slots, UserError):
                    raise slots
                self.bad += slots.bad
                for part in slots[:3]:
                    digest.update(part.numpy().tobytes())
                self.seen += self.batch
                each(self.seen)
        return digest.hexdigest()


@pytest.fixture(scope="module")
def expected(data, tmp_path_factory) -> str:
    """The stream of the local folder."""
    return Reading(data, tmp_path_factory.mktemp("unused")).read()


def tars(requests) -> list[str]:
    return [path for _, _, path in requests if path.endswith(".tar")]


def cached(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*") if len(path.name) == 64]


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # deleted to make room
        return 0


# The whole command.


def run(cwd: Path, where, out: str, *more: str, **environment: str):
    return command(TRAIN, *TINY, f"--data={where}", f"--out={out}", "--samples=2560", "--data.cache=cache",
                   "--data.window=50", "--data.loader_workers=1", *more, cwd=cwd, **environment)  # fmt: skip


def weights(cwd: Path, where, out: str, *more: str, **environment: str) -> str:
    result = run(cwd, where, out, *more, **environment)
    assert result.returncode == 0, result.stderr
    return json.loads((cwd / out / "summary.json").read_text())["weights_sha256"]


def test_a_run_from_http_or_s3_is_the_run_from_a_folder(tmp_path, nginx, data, s3):
    local = weights(tmp_path, data, "local")
    assert weights(tmp_path, nginx.url, "http") == local
    shutil.rmtree(tmp_path / "cache")
    for path in data.iterdir():
        s3_client(s3).upload_file(str(path), "bucket", f"some/where/{path.name}")
    assert weights(tmp_path, "s3://bucket/some/where/", "s3") == local


def test_a_shard_that_was_changed_is_fetched_again_and_then_refused(tmp_path, nginx):
    path = nginx.root / "shard-000007.tar"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    line = refused(run(tmp_path, nginx.url, "run"))
    assert "shard-000007.tar does not match its SHA-256 in the index, fetched 2 times" in line
    assert tars(nginx.requests()).count("/shard-000007.tar") >= 2
    # What was trained until then is kept, and goes on once the shard is right.
    content[1000] ^= 1
    path.write_bytes(content)
    assert run(tmp_path, nginx.url, "run").returncode == 0


# The stream.


def test_each_shard_is_fetched_once(tmp_path, nginx, expected):
    """By a thread that fetches ahead and three loader processes that share its cache."""
    assert Reading(nginx.url, tmp_path / "cache").read(loader_workers=3) == expected
    fetched = tars(nginx.requests())
    assert sorted(fetched) == [f"/shard-{i:06d}.tar" for i in range(18)]
    assert Reading(nginx.url, tmp_path / "cache").read() == expected
    assert tars(nginx.requests()) == fetched, "the second time all is in the cache"
    left = [path.name for path in (tmp_path / "cache").glob("*/*") if not path.name.startswith(".")]
    assert len(left) == 36, "a shard and a table each, and nothing half-fetched"


def test_loader_processes_ask_an_object_store_by_themselves(tmp_path, data, s3, expected):
    """Each makes its own connections, while the process that started them has used others."""
    for path in data.iterdir():
        s3_client(s3).upload_file(str(path), "bucket", f"loaders/{path.name}")
    # In a process of its own: loaders have the environment that the first one of a process was started with.
    found = command("tests.test_remote", "s3://bucket/loaders", tmp_path / "cache", cwd=Path(__file__).parents[1])
    assert found.stdout.strip() == expected, found.stderr
    assert len(cached(tmp_path / "cache")) == 36


def test_reading_starts_before_the_data_set_has_arrived(tmp_path, nginx):
    """At 80 KB/s a connection and one lane: the first update needs one shard of eighteen."""
    arrived = []
    reading = Reading(f"{nginx.url}/slow", tmp_path / "cache", lanes=1)
    reading.read(samples=BATCH, each=lambda _: arrived.append(len(cached(tmp_path / "cache"))))
    assert 2 <= arrived[0] < 18


def test_answers_of_503_are_waited_out(tmp_path, nginx, expected):
    assert Reading(f"{nginx.url}/busy", tmp_path / "cache").read() == expected
    assert 503 in [status for status, _, _ in nginx.requests()], "the server was busy at times"


def test_connections_that_break_off_are_taken_up_again(tmp_path, nginx, expected):
    done = threading.Event()

    def disturb() -> None:
        while not done.wait(1.5):
            nginx.kill_worker()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        found = []
        reading = Reading(f"{nginx.url}/slow", tmp_path / "cache")
        # At 80 KB/s a shard takes 2.5 s: none would arrive between two kills, so these stop after a while.
        threading.Timer(6, done.set).start()
        found.append(reading.read())
    finally:
        done.set()
        thread.join()
    assert found == [expected]


def test_a_cache_too_small_for_the_data_stays_within_its_limit(tmp_path, nginx, data):
    limit, shard = 2.0e6, 220_000
    local = Reading(data, tmp_path / "unused", lanes=2).read(3600)
    peak = []
    reading = Reading(nginx.url, tmp_path / "cache", lanes=2, limit=limit)
    found = reading.read(3600, each=lambda _: peak.append(sum(map(size_of, cached(tmp_path / "cache")))))
    assert found == local
    assert 0.5 * limit < max(peak) <= limit + 4 * shard, "files that are being fetched come on top"
    assert len(tars(nginx.requests())) > 18, "the second epoch fetches again"


def test_a_cached_shard_that_rots_is_fetched_again(tmp_path, nginx, data, expected):
    assert Reading(nginx.url, tmp_path / "cache").read() == expected
    shard = index_file.load(data).shards[3]
    path = tmp_path / "cache" / shard.sha256[:2] / shard.sha256
    content = bytearray(path.read_bytes())
    for row in index_file.load_table(data, shard):
        content[int(row["offset"]) + 40] ^= 1
    path.write_bytes(content)
    before = len(tars(nginx.requests()))
    again = Reading(nginx.url, tmp_path / "cache")
    assert again.read() == expected
    assert not again.bad
    assert tars(nginx.requests())[before:] == ["/shard-000003.tar"]


def test_an_evaluation_reads_a_rotten_cached_sample_again(tmp_path, nginx, data):
    whole, there = DataSet(str(data), tmp_path / "unused").samples(np.arange(100, 200))
    assert there.all()
    remote = DataSet(nginx.url, tmp_path / "cache")
    remote.reader.files.fetch(1)
    shard = remote.index.shards[1]
    path = tmp_path / "cache" / shard.sha256[:2] / shard.sha256
    content = bytearray(path.read_bytes())
    for row in index_file.load_table(data, shard)[[3, 50]]:
        content[int(row["offset"]) + 40] ^= 1
    path.write_bytes(content)
    samples, there = remote.samples(np.arange(100, 200))
    assert there.all()
    assert not remote.bad
    assert torch.equal(samples, whole)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_shard_that_is_cut_or_gone_is_refused(tmp_path, nginx, damage):
    path = nginx.root / "shard-000007.tar"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    else:
        path.unlink()
    with pytest.raises(UserError) as error:
        Reading(nginx.url, tmp_path / "cache").read()
    says = {"cut": "was cut off or changed since it was indexed", "gone": "is in the index but not there"}
    assert f"shard-000007.tar {says[damage]}" in str(error.value)


@pytest.mark.parametrize(("nodes", "lanes", "batch"), [(2, 8, 32), (3, 6, 30), (4, 8, 32), (2, 8, 30)])
def test_each_node_fetches_its_share(tmp_path, nginx, nodes, lanes, batch):
    """Bytes a node and epoch: at most its share of the data and two shards, by the server's own log.

    In the last case the lanes do not divide the batch, and a node reads a neighbour's lane as well.
    """
    index = index_file.load(nginx.root)
    for rank in range(nodes):
        where, cache = f"{nginx.url}/node{rank}", tmp_path / f"cache{rank}"
        reading = Reading(where, cache, lanes=lanes, batch=batch, rank=rank, world=nodes)
        reading.read(1797 // batch * batch)
        sent = sum(size for _, size, path in nginx.requests() if path.startswith(f"/node{rank}/") and ".tar" in path)
        largest = max(shard.bytes for shard in index.shards)
        own = 1 / nodes if batch % lanes == 0 else 1 / nodes + 2 / lanes
        assert 0 < sent <= index.bytes * own + 2 * largest


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("{url}/secret", "403"),
        ("{url}/nowhere", "no index.json at"),
        ("http://127.0.0.1:9/data", "cannot be read"),
        ("pipe:cat /etc/passwd", "a path, or a URL that starts with"),
        ("simplecache::{url}", "a path, or a URL that starts with"),
        ("memory://data", "a path, or a URL that starts with"),
        ("oss://bucket/data", "pip install ossfs"),
    ],
)
def test_mistakes_get_one_line(nginx, where, says):
    with pytest.raises(UserError, match=says) as error:
        index_file.load(where.format(url=nginx.url))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "pipe:id", "memory://x"])
@pytest.mark.parametrize("field", ["name", "table"])
def test_an_index_from_elsewhere_cannot_name_a_file_of_this_machine(nginx, name, field):
    content = json.loads((nginx.root / "index.json").read_text())
    content["shards"][0][field] = name
    (nginx.root / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"outside its folder|a path, or a URL that starts with"):
        index_file.load(nginx.url)


def test_a_cache_smaller_than_what_is_read_side_by_side_is_refused(tmp_path, nginx):
    line = refused(run(tmp_path, nginx.url, "run", "--data.cache_gb=0.001"))
    assert "--data.cache_gb 0.001: the shards that are read side by side take" in line


def test_a_process_that_mapped_a_rotten_shard_sees_that_another_had_it_fetched_again(tmp_path, nginx, data):
    """Else which samples count as bad would depend on the number of loader processes."""
    index = index_file.load(nginx.url)
    shard, table = index.shards[0], index_file.load_table(data, index.shards[0])
    files = ShardFiles(nginx.url, index, Cache(tmp_path / "cache", 10**9))
    files.fetch(0)
    path = tmp_path / "cache" / shard.sha256[:2] / shard.sha256
    content = bytearray(path.read_bytes())
    for number in (3, 7):
        content[int(table[number]["offset"]) + 40] ^= 1
    path.write_bytes(content)
    first, second = ShardReader(files), ShardReader(files)
    for reader in (first, second):
        reader.read(0, 0)  # both have it mapped
    assert first.read_or_next(0, 3)[2] == []
    assert second.read_or_next(0, 7)[2] == []


@pytest.mark.parametrize("what", ["table", "shard"])
def test_a_file_that_is_cut_in_the_cache_is_fetched_again(tmp_path, nginx, expected, what):
    assert Reading(nginx.url, tmp_path / "cache").read() == expected
    shard = index_file.load(nginx.url).shards[5]
    sha256 = shard.table_sha256 if what == "table" else shard.sha256
    (tmp_path / "cache" / sha256[:2] / sha256).write_bytes(b"")
    again = Reading(nginx.url, tmp_path / "cache")
    assert again.read() == expected
    assert not again.bad


def test_a_fetch_that_was_killed_leaves_its_place_to_others(tmp_path, nginx, expected):
    """What a dead process of this host was fetching goes at once, and does not count against the limit."""
    code = "from ragdist.tools.ownership import owner_name; print(owner_name())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    mine = owner_name()
    for number, owner in enumerate((dead, mine)):
        part = tmp_path / "cache" / "aa" / f"{'a' * 63}{number}.part-{owner}.0"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(bytes(1000))
    assert Reading(nginx.url, tmp_path / "cache").read() == expected
    assert [path.name.partition(".")[2] for path in (tmp_path / "cache" / "aa").glob("a*.part*")] == [f"part-{mine}.0"]


@pytest.mark.parametrize("table", [b"PK\x03\x04 no table", b"\x93NUMPY\x01\x00v\x00{'descr': '<u8', 'fortran_order': "
                                   b"False, 'shape': (100000000000000,), }\n", b""])  # fmt: skip
def test_a_hostile_table_gets_one_line(tmp_path, data, table):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "shard-000000.npy").write_bytes(table)
    with pytest.raises(UserError, match=r"is damaged|is not the table"):
        Reading(tmp_path / "data", tmp_path / "cache").read()


def test_a_local_shard_that_vanishes_gets_one_line(tmp_path, data):
    shutil.copytree(data, tmp_path / "data")
    reading = Reading(tmp_path / "data", tmp_path / "cache")
    (tmp_path / "data" / "shard-000003.tar").unlink()
    with pytest.raises(UserError, match=r"shard-000003.tar cannot be read \(No such file or directory\)"):
        reading.read()


@pytest.mark.parametrize("change", [{"samples": -2}, {"samples": 1.5}, {"samples": "3"}, {"bytes": "x"}, {"name": 5}])
def test_an_index_with_other_types_gets_one_line(nginx, change):
    content = json.loads((nginx.root / "index.json").read_text())
    content["shards"][0] |= change
    (nginx.root / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is damaged"):
        index_file.load(nginx.url)


if __name__ == "__main__":
    print(Reading(sys.argv[1], Path(sys.argv[2])).read(loader_workers=3))
