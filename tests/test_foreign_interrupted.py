"""Indexing others' shards, interrupted: what was surveyed is kept as long as it is true."""

import os
import signal
import time

import numpy as np

from ragdist.data import index as index_file
from ragdist.data.indexing.index_shards import NOTES
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from tests.conftest import begin, command, picture
from tests.test_foreign import SHARDS, index, refusal, sample, write


def test_after_a_kill_finished_shards_are_not_read_again(tmp_path):
    (tmp_path / "tars").mkdir()
    for number in range(12):
        write(
            tmp_path / "tars" / f"{number:02d}.tar",
            [e for i in range(400) for e in sample(f"{number}-{i}", i, size=(64, 64))],
        )
    process = begin(SHARDS, "index", "tars", "--processes=2", cwd=tmp_path)
    notes = tmp_path / "tars" / NOTES
    deadline = time.monotonic() + 240
    while len(list(notes.glob("*.npz"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "tars" / "index.json").exists()
    again = command(SHARDS, "index", "tars", "--processes=2", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "of 12 shards were surveyed before" in again.stdout
    assert index_file.load(tmp_path / "tars").samples == 4800


def test_a_shard_that_changed_after_its_note_is_read_again(tmp_path):
    write(tmp_path / "a.tar", sample("0", 0))
    write(tmp_path / "b.tar", [("0.txt", b"")])
    refusal(tmp_path)  # leaves a note on a.tar
    assert list((tmp_path / NOTES).glob("*.npz"))
    write(tmp_path / "a.tar", sample("1", 1))
    write(tmp_path / "b.tar", sample("2", 2))
    found = index(tmp_path).index
    assert ShardReader(ShardFiles(tmp_path, found)).read(0, 0)[0].flatten().tolist() == (
        np.asarray(picture(1)).transpose(2, 0, 1).flatten().tolist()
    )


def test_notes_of_skipped_samples_are_not_taken_for_whole_shards(tmp_path):
    write(tmp_path / "a.tar", [*sample("0", 0), ("1.txt", b"")])
    (tmp_path / "b.tar").write_bytes(b"")
    assert "b.tar is empty" in refusal(tmp_path, bad="skip")
    assert "sample 1" in refusal(tmp_path)
