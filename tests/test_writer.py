"""Shards are the same bytes however many processes write them and however often they are killed."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.writing import tar_writer, upload
from ragdist.data.writing.pack import shard_name
from ragdist.data.writing.writer import write_shards
from ragdist.storage import retry
from ragdist.storage.locks import locked
from ragdist.tools.errors import UserError
from tests.conftest import begin, command, picture, refused
from tests.fork_server import Command, fork_server
from tests.scan import scan
from tests.servers import s3_client
from tests.test_shards import members

pytestmark = pytest.mark.usefixtures("warm_processes")
SHARDS = "ragdist.shards"
HANGS = 240  # seconds after which nothing is slow any more
COUNT, SIZE = 5000, 400  # samples of the test's array, and of its shards


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> Path:
    """5,000 pictures of noise, which take a second to write."""
    path = tmp_path_factory.mktemp("array") / "a.npz"
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    np.savez(path, images=noise, labels=np.arange(COUNT) % 10)
    return path


@pytest.fixture(scope="module")
def undisturbed(array) -> dict[str, bytes]:
    """What writing the array gives when one process does all of it."""
    out = array.parent / "undisturbed"
    write_shards(str(array), out, ShardOptions(shard_samples=SIZE, processes=1))
    return content(out)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.text("abc019._-", min_size=1, max_size=100), st.integers(0, tar_writer.LARGEST))
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o444
    assert tar_writer.header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


@given(st.lists(st.binary(max_size=1500), max_size=25))
def test_a_tar_of_members_is_what_tarfile_reads(payloads):
    whole = b"".join(tar_writer.member(f"{i}.bin", data) for i, data in enumerate(payloads))
    whole += tar_writer.ending(len(whole))
    assert len(whole) % tar_writer.RECORD == 0
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as found:
        assert [found.extractfile(m).read() for m in found] == payloads


@pytest.mark.parametrize(("processes", "size"), [(2, SIZE), (2, 2100), (3, 100_000)])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, array, undisturbed, processes, size):
    """Of whole shards, of shards in pieces, and of one shard for all processes."""
    write_shards(str(array), tmp_path / "out", ShardOptions(shard_samples=size, processes=processes))
    if size != SIZE:
        write_shards(str(array), tmp_path / "one", ShardOptions(shard_samples=size, processes=1))
        undisturbed = content(tmp_path / "one")
    assert content(tmp_path / "out") == undisturbed
    assert not list(tmp_path.glob(".*"))


def test_the_index_is_what_a_scan_of_the_tars_gives(array, undisturbed):
    folder = array.parent / "undisturbed"
    index = index_file.load(folder)
    assert index.samples == COUNT
    for shard in (index.shards[0], index.shards[-1]):
        entry, table = scan(folder / shard.name, "png")
        assert entry == shard
        np.testing.assert_array_equal(index_file.load_table(folder, shard), table)


def test_keys_are_places_in_the_order_also_where_an_image_is_skipped(tmp_path, class_folders):
    (class_folders / "cat" / "bad.png").write_bytes(b"bad")
    summary = write_shards(str(class_folders), tmp_path / "out", ShardOptions(bad="skip", shard_samples=1))
    found = [key for key, _, _ in members(tmp_path / "out")]
    assert len(summary.skipped) == 1
    names = [shard.name for shard in summary.index.shards]
    assert names == [shard_name(int(key)) for key in found], "the shard of the bad one is left out"


def start(array: Path, out: str, cwd: Path, *more: str) -> Command:
    return begin(SHARDS, array, out, f"--shard_samples={SIZE}", "--processes=2", *more, cwd=cwd)


def wait_for(what, process: Command, seconds: float = HANGS) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_continues_after_a_kill(tmp_path, array, undisturbed, how):
    records = tmp_path / ".out.part" / "records"
    for _ in range(4):
        process = start(array, "out", tmp_path)
        wait_for(lambda: len(list(records.glob("*.json"))) >= 3, process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        output = process.communicate(timeout=HANGS)
        assert not psutil.wait_procs(children, timeout=HANGS)[1], "no process outlives its parent"
        if not (tmp_path / "out").exists():
            break
        shutil.rmtree(tmp_path / "out")  # it was through before the signal came
    assert not (tmp_path / "out").exists()
    if how == signal.SIGINT:
        assert output[1].strip() == "interrupted"
    finished = {json.loads(file.read_text())["name"] for file in records.glob("*.json")}
    before = {name: (tmp_path / ".out.part" / "shards" / name).stat() for name in finished}
    assert 3 <= len(finished) < 13
    result = command(SHARDS, array, "out", f"--shard_samples={SIZE}", "--processes=2", "--bad=skip", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"continuing: {len(finished)} of 13 shards are finished" in result.stdout
    assert content(tmp_path / "out") == undisturbed
    for name, status in before.items():
        now = (tmp_path / "out" / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (status.st_ino, status.st_mtime_ns), "not written again"
    assert not (tmp_path / ".out.part").exists()


def interrupted(array: Path, cwd: Path) -> None:
    """Leave some finished shards in ``cwd``."""
    process = start(array, "out", cwd)
    wait_for(lambda: list((cwd / ".out.part" / "records").glob("*.json")), process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(children, timeout=HANGS)[1]


def test_other_options_start_anew(tmp_path, array):
    interrupted(array, tmp_path)
    result = command(SHARDS, array, "out", f"--shard_samples={SIZE}", "--seed=1", cwd=tmp_path)
    assert "starting anew" in result.stdout
    assert "continuing" not in result.stdout
    write_shards(str(array), tmp_path / "other", ShardOptions(shard_samples=SIZE, seed=1))
    assert content(tmp_path / "out") == content(tmp_path / "other")


def test_a_changed_source_starts_anew_and_a_damaged_shard_is_written_again(tmp_path, array, undisturbed):
    interrupted(array, tmp_path)
    shard = next((tmp_path / ".out.part" / "shards").glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    write_shards(str(array), tmp_path / "out", ShardOptions(shard_samples=SIZE))
    assert content(tmp_path / "out") == undisturbed
    (tmp_path / "out").rename(tmp_path / "before")
    interrupted(array, tmp_path)
    os.utime(array)
    result = command(SHARDS, array, "out", f"--shard_samples={SIZE}", cwd=tmp_path)
    assert "starting anew" in result.stdout


def test_the_second_of_two_is_refused(tmp_path, array, undisturbed):
    process = start(array, "out", tmp_path)
    wait_for((tmp_path / ".out.part" / "records").is_dir, process)
    line = refused(command(SHARDS, array, "out", cwd=tmp_path))
    assert f"out is being written by process {process.pid} on {socket.gethostname()}: wait for it" in line
    output = process.communicate(timeout=HANGS)
    assert process.returncode == 0, output
    assert content(tmp_path / "out") == undisturbed, "the first is not disturbed"


def test_a_killed_writing_process_is_one_line_and_the_command_continues(tmp_path, array, undisturbed):
    process = start(array, "out", tmp_path)
    wait_for(lambda: list((tmp_path / ".out.part" / "records").glob("*.json")), process)
    workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    fork_server().forked(workers)[0].kill()
    _, error = process.communicate(timeout=HANGS)
    assert process.returncode == 2, error
    assert error.strip().splitlines()[-1].startswith("error: a working process was killed")
    assert "Traceback" not in error
    write_shards(str(array), tmp_path / "out", ShardOptions(shard_samples=SIZE))
    assert content(tmp_path / "out") == undisturbed


def test_a_bad_image_late_in_the_work_names_itself_and_keeps_what_is_finished(tmp_path, array, undisturbed):
    """In another process; and --bad skip then takes what is there, but --bad fail no shard that skipped one."""
    images = np.load(array)["images"]
    root = tmp_path / "pictures"
    root.mkdir()
    for i, image in enumerate(images[:600]):
        Image.fromarray(image).resize((64, 64)).save(root / f"{i:04d}.png")
    last = root / "0300.png"
    options = {"shard_samples": 20, "processes": 2}
    good = write_shards(str(root), tmp_path / "good", ShardOptions(**options))
    assert good.index.samples == 600
    last.write_bytes(last.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"0300\.png cannot be read"):
        write_shards(str(root), tmp_path / "out", ShardOptions(**options))
    summary = write_shards(str(root), tmp_path / "out", ShardOptions(**options, bad="skip"))
    assert summary.index.samples == 599
    assert [line.partition(":")[0] for line in summary.skipped] == ["0300.png"]


def test_an_odd_image_is_found_by_any_process(tmp_path, array):
    images = np.load(array)["images"]
    root = tmp_path / "pictures"
    root.mkdir()
    for i, image in enumerate(images[:300]):
        Image.fromarray(image).resize((80, 80)).save(root / f"{i:04d}.png")
    picture(1, (80, 79)).save(root / "odd.png")
    with pytest.raises(UserError, match=r"odd.png is 80x79") as error:
        write_shards(str(root), tmp_path / "out", ShardOptions(shard_samples=10, processes=2))
    assert "--size" in str(error.value)


def test_writing_processes_need_no_pytorch():
    code = "import sys; import ragdist.data.parallel, ragdist.data.writing.pack; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr


def test_replacing_what_is_there(tmp_path, class_folders, digits):
    write_shards(str(class_folders), tmp_path / "out", ShardOptions())
    with pytest.raises(UserError, match="not empty"):
        write_shards("digits", tmp_path / "out", ShardOptions(shard_samples=700))
    write_shards("digits", tmp_path / "out", ShardOptions(shard_samples=700), overwrite=True)
    assert content(tmp_path / "out") == content(digits)


# OUT as a URL.


def test_a_url(tmp_path, digits):
    options = ShardOptions(shard_samples=700, scratch=str(tmp_path / "scratch"))
    url = f"file://{tmp_path}/deep/out"
    assert write_shards("digits", url, options).index.samples == 1797
    assert content(tmp_path / "deep" / "out") == content(digits)
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(UserError, match=r"already holds an index.json"):
        write_shards("digits", url, options)
    few = ShardOptions(shard_samples=1000, scratch=options.scratch)
    write_shards("digits", url, few, overwrite=True)
    assert len(content(tmp_path / "deep" / "out")) == 5, "shards of before are deleted"
    assert index_file.load(tmp_path / "deep" / "out").samples == 1797


def test_passing_errors_are_tried_again_and_others_are_one_line(tmp_path, digits, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    failures = []

    def put_file(self, local, remote, **_):
        if len(failures) % 3 < 2:
            failures.append(remote)
            raise ConnectionResetError("the network is gone")
        failures.append("")
        self.pipe_file(remote, Path(local).read_bytes())

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    options = ShardOptions(shard_samples=700, scratch=str(tmp_path))
    monkeypatch.setattr(upload, "_AT_ONCE", 1)
    write_shards("digits", "memory://bucket/out", options)
    assert len(failures) == 18, "each of six files at the third try"
    store = MemoryFileSystem.store
    for name, data in content(digits).items():
        assert store[f"/bucket/out/{name}"].getvalue() == data
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    with pytest.raises(UserError, match=r"cannot upload shard-000000\.tar .the network is gone"):
        write_shards("digits", "memory://bucket/other", options)
    assert "/bucket/other/index.json" not in store


def test_unknown_places_are_one_line(tmp_path):
    line = refused(command(SHARDS, "digits", "nowhere://x/y", cwd=tmp_path))
    assert "Protocol not known: nowhere" in line
    line = refused(command(SHARDS, "digits", "oss://bucket/out", cwd=tmp_path))
    assert "pip install ossfs" in line


def test_s3_is_continued_after_a_kill(tmp_path, array, undisturbed, s3):
    client = s3_client(s3)

    def there() -> dict:
        found = client.list_objects_v2(Bucket="bucket", Prefix="data/").get("Contents", [])
        return {entry["Key"].removeprefix("data/"): entry["LastModified"] for entry in found}

    scratch = f"--scratch={tmp_path / 'scratch'}"
    process = start(array, "s3://bucket/data", tmp_path, scratch)
    uploaded = "scratch/*/records/*.json"
    wait_for(lambda: sum('"uploaded": true' in file.read_text() for file in tmp_path.glob(uploaded)) >= 3, process)
    process.kill()
    process.communicate()
    before = there()
    assert "index.json" not in before
    assert 6 <= len(before) < 26
    done = {json.loads(f.read_text())["name"] for f in tmp_path.glob(uploaded) if '"uploaded": true' in f.read_text()}
    client.delete_object(Bucket="bucket", Key=f"data/{done.pop()}")  # its record says that it is there
    result = command(SHARDS, array, "s3://bucket/data", f"--shard_samples={SIZE}", scratch, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "continuing: " in result.stdout
    now = there()
    assert now.keys() == undisturbed.keys()
    for name, data in undisturbed.items():
        assert client.get_object(Bucket="bucket", Key=f"data/{name}")["Body"].read() == data
    for name in done:
        assert now[name] == before[name], "not uploaded again"
    line = refused(command(SHARDS, array, "s3://no-such-bucket/x", scratch, cwd=tmp_path))
    assert "cannot write to it" in line


def test_the_lock_is_of_the_process_and_not_of_a_file_left_behind(tmp_path, class_folders):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "lock").write_text("123")
    write_shards(str(class_folders), tmp_path / "out", ShardOptions())
    (tmp_path / ".next.part").mkdir()
    with (
        locked(tmp_path / ".next.part" / "lock"),
        pytest.raises(UserError, match=f"next is being written by process {os.getpid()} on"),
    ):
        write_shards(str(class_folders), tmp_path / "next", ShardOptions())
    assert (tmp_path / ".next.part").exists()
