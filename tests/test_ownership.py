"""What is abandoned is known to be, and what is not is left alone: of this machine, other containers, other times."""

import os
import subprocess
import sys
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdist.tools import ownership
from ragdist.tools.machine import process_started
from ragdist.tools.ownership import STALE, Owner, abandoned, owner_name, parse

NAME = "from ragdist.tools.ownership import owner_name; print(owner_name(), flush=True)"


@given(st.from_regex(r"[0-9a-f]{12}", fullmatch=True), st.integers(1, 2**31), st.integers(0, 2**62))
def test_a_name_says_who_it_is_of(space, pid, started):
    owner = Owner(space, pid, started)
    assert parse(str(owner)) == owner
    assert len(str(owner)) <= 43
    assert set(str(owner)) <= set("0123456789abcdef-")


@given(st.text() | st.from_regex(r"[\w.-]*-\d+(-\d+)*", fullmatch=True))
def test_any_other_text_is_of_nobody_known_and_judged_by_its_age(text):
    if parse(text) is None:
        now = time.time()
        assert not abandoned(text, now)
        assert not abandoned(text, now - STALE + 100)
        assert abandoned(text, now - STALE - 100)


@pytest.fixture
def alive():
    process = subprocess.Popen(
        [sys.executable, "-c", f"{NAME}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.stdin.close()
        process.wait()


def test_of_this_machine_the_process_tells(alive):
    ended = subprocess.check_output([sys.executable, "-c", NAME], text=True).strip()
    old = time.time() - 10 * STALE
    assert not abandoned(alive, old)
    assert not abandoned(owner_name(), old)
    if process_started(os.getpid()) is None:
        pytest.skip("the system does not tell which process it was")
    assert abandoned(ended, time.time())
    assert abandoned(str(parse(alive)._replace(started=1)), time.time()), "an earlier process had its number"


def test_a_number_says_nothing_about_another_container(alive):
    """By it a process would seem to live that has ended, and the other way round."""
    for other in (parse(alive), Owner("", 2**30, 1)):
        name = str(other._replace(space="0123456789ab"))
        assert not abandoned(name, time.time())
        assert abandoned(name, time.time() - STALE - 1)


def test_a_real_container_with_the_same_name_and_numbers():
    """In a PID namespace of its own, as in every container, where all of it has the number 1."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces may be made here")
    there = subprocess.check_output([*unshare, sys.executable, "-c", NAME], text=True).strip()
    assert parse(there).pid == 1, "which lives here, too"
    assert parse(there).space != ownership.process_space()
    assert not abandoned(there, time.time())


def test_where_nothing_tells_one_machine_from_another_nothing_is_deleted_before_a_day(alive, monkeypatch):
    code = f"import ragdist.tools.ownership as o; print(o.abandoned({alive!r}, {time.time()}), o.owner_name())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["tests/elsewhere", *sys.path[:1], os.getcwd()])}
    answers = set()
    for _ in range(2):
        answer, name = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).split()
        answers.add(parse(name).space)
        assert answer == "False"
        assert not abandoned(name, time.time())
    assert len(answers) == 2, "each process is alone in its space"


def test_a_machine_without_namespaces_is_one_space():
    code = f"import sys; sys.platform = 'darwin'; {NAME}"
    names = {subprocess.check_output([sys.executable, "-c", code], text=True).strip() for _ in range(2)}
    spaces = {parse(name).space for name in names}
    assert len(spaces) == (1 if uuid.getnode() >> 40 & 1 == 0 else 2), "where the machine has an address"


def test_local_folders_of_runs_at_urls_are_swept_when_their_process_is_dead(alive, tmp_path, monkeypatch):
    from ragdist.runs import remote

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.check_output([sys.executable, "-c", NAME], text=True).strip()
    foreign = str(parse(alive)._replace(space="0123456789ab"))
    names = [f"ragdist-run-{owner}.x" for owner in (alive, owner_name(), ended, foreign, "4711-of-an-earlier-version")]
    names += [f"ragdist-run-{foreign}.old", f"ragdist-run-{foreign}.used", f"ragdist-not-uploaded-{ended}.x"]
    for name in names:
        (tmp_path / name / "samples").mkdir(parents=True)
        (tmp_path / name / "samples" / "a.png").touch()
    long_ago = time.time() - STALE - 60
    for name in names[-3:]:
        paths = [tmp_path / name, tmp_path / name / "samples", tmp_path / name / "samples" / "a.png"]
        for path in paths[:2] if name.endswith("used") else paths:
            os.utime(path, (long_ago, long_ago))
    remote._sweep()
    gone = {f"ragdist-run-{ended}.x", f"ragdist-run-{foreign}.old"}
    assert {path.name for path in tmp_path.iterdir()} == set(names) - gone


def test_a_local_folder_in_use_is_not_swept_however_old_and_whosesoever_it_is(tmp_path, monkeypatch):
    """As where nothing tells one process from another, or a machine sleeps for days."""
    from ragdist.runs import remote
    from ragdist.storage.locks import locked

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"ragdist-run-{Owner('0' * 12, 1, 0)}.x"
    folder.mkdir()
    long_ago = time.time() - STALE - 60
    with locked(folder / ".lock"):
        for path in (folder / ".lock", folder):
            os.utime(path, (long_ago, long_ago))
        remote._sweep()
        assert folder.is_dir()
    remote._sweep()
    assert not folder.exists()


def test_what_a_killed_process_left_of_a_checkpoint_goes_and_what_others_write_stays(alive, tmp_path):
    import torch

    from ragdist.runs import checkpoint

    ended = subprocess.check_output([sys.executable, "-c", NAME], text=True).strip()
    for owner in (ended, alive, owner_name(), "node-7"):  # the third is left by an error, of this very checkpoint
        (tmp_path / f".part-samples-000000000032.{owner}").mkdir()
    checkpoint.save(tmp_path, 32, {"w": torch.zeros(1)}, {}, keep=1)
    left = {path.name.rpartition(".")[2] for path in tmp_path.glob(".part*")}
    assert left == {alive, "node-7"}
    assert checkpoint.damage(tmp_path / "samples-000000000032") is None
