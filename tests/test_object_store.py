"""Files in an object store: what is asked of it, what its answers mean, and who may ask."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ragdist.storage import object_store, retry
from ragdist.storage.store import CHUNK, Store
from ragdist.tools.errors import Unreachable, UserError
from tests.conftest import command, refused
from tests.servers import Gate, s3_client, serving


@pytest.fixture
def store(s3, request) -> Store:
    """A folder for each test."""
    return Store(f"s3://bucket/{request.node.name.partition('[')[0]}")


@pytest.fixture
def gate(s3, monkeypatch):
    """What leads to the server."""
    gate = Gate(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    yield gate
    gate.rate = math.inf  # else threads would wait on


@pytest.fixture
def impatient(monkeypatch):
    """A connection counts as broken off after a second without a byte, and is not tried again."""
    monkeypatch.setattr(object_store, "STALL", 1.0)
    monkeypatch.setattr(retry, "ATTEMPTS", 1)


def run(code: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, env=os.environ | environment, capture_output=True, text=True, timeout=timeout)


def test_files_are_what_another_client_sees(store, s3, tmp_path):
    client, prefix = s3_client(s3), store.where.removeprefix("s3://bucket/")
    large = os.urandom(3 * CHUNK + 1)  # in parts, both ways
    (tmp_path / "large").write_bytes(large)
    names = ["a.json", "deep/b", "x y", "x%20y", "a+b=c~", "é?#[1]"]
    for name in names:
        store.write(name, name.encode())
    store.upload(tmp_path / "large", "deep/large")
    for name in names:
        assert client.get_object(Bucket="bucket", Key=f"{prefix}/{name}")["Body"].read() == name.encode()
        assert store.read(name) == name.encode()
    assert client.get_object(Bucket="bucket", Key=f"{prefix}/deep/large")["Body"].read() == large
    assert store.list() == {name: len(name.encode()) for name in names} | {"deep/large": len(large)}
    assert object_store.list_files(store.where, deep=False) == {n: len(n.encode()) for n in names if "/" not in n}
    size, mark = store.stat("deep/large")
    assert size == len(large)
    store.fetch("deep/large", size, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large
    store.write("deep/large", b"other")
    assert store.stat("deep/large")[1] != mark
    store.delete("a.json")
    with pytest.raises(FileNotFoundError):
        store.read("a.json")
    assert "a.json" not in store.list()
    assert Store("s3://no-such-bucket/x").list() == {}


def test_a_write_on_a_condition_is_one_of_many(store):
    """Of writers that all saw the same, one writes."""
    won, barrier = [], threading.Barrier(8)

    def write(number: int, **condition) -> None:
        barrier.wait()
        with contextlib.suppress(FileExistsError):
            text = f"{number} {condition}".encode()  # equal ones have equal versions
            won.append((text, store.write("file", text, **condition)))

    for condition in ("create", "update"):
        options = {"only_if_new": True} if condition == "create" else {"if_version": won.pop()[1]}
        threads = [threading.Thread(target=write, args=[n], kwargs=options) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.read_version("file") == won[0]


def test_refusals_are_said_once(store, s3, monkeypatch, capsys):
    store.write("file", b"text")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for ask in (lambda: store.read("file"), store.list, lambda: store.write("file", b""), lambda: store.stat("file")):
        with pytest.raises(UserError, match=r"403 Forbidden.*: check the address and this machine's credentials"):
            ask()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(UserError, match="must begin with http"):
        store.read("file")
    for where, says in (("s3:///x", "s3://BUCKET/PATH"), ("az://box/x", "AZURE_STORAGE_ACCOUNT_NAME")):
        with pytest.raises(UserError, match=says):
            Store(where).read("file")
    assert capsys.readouterr().err == ""


def test_a_command_with_wrong_credentials_says_so_in_one_line(s3, tmp_path):
    line = refused(command("ragdist.generate", "s3://bucket/x", cwd=tmp_path, AWS_ACCESS_KEY_ID="wrong"))
    assert "403 Forbidden" in line
    assert "credentials" in line


def test_a_file_that_ends_too_early_is_tried_a_few_times(store, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    store.write("file", b"12345")
    for size in (10, CHUNK + 10):
        with pytest.raises(UserError, match="was cut off or changed since it was indexed"):
            store.fetch("file", size, tmp_path / "file")


def test_what_is_away_for_a_moment_is_waited_for(store, gate, capsys):
    store.write("file", b"text")
    gate.shut()
    threading.Timer(2.5, gate.open).start()
    assert store.read("file") == b"text"
    assert "Connection refused; attempt 3 of 8 in" in capsys.readouterr().err
    gate.shut()
    with pytest.raises(Unreachable, match=r"cannot be read \(Connection refused, 2 times\)"):
        store.read("file", attempts=2)


def test_a_slow_line_is_not_cut(store, gate, impatient, tmp_path):
    """Twice as long as a connection may be silent."""
    data = os.urandom(200_000)
    gate.rate = 100_000
    (tmp_path / "file").write_bytes(data)
    began = time.monotonic()
    store.upload(tmp_path / "file", "file")
    assert time.monotonic() - began > 1.5
    assert store.read("file") == data


def test_a_silent_line_is_cut(store, gate, impatient):
    store.write("file", os.urandom(300_000))
    gate.rate = 100_000
    threading.Timer(1, setattr, [gate, "rate", 0]).start()
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no answer in time"):
        store.read("file")
    assert 1.5 < time.monotonic() - began < 20


def test_ctrl_c_ends_the_wait_for_an_answer(store, gate):
    gate.rate = 0
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & has it ignored
    code += f"from ragdist.storage.store import Store; print('asking', flush=True); Store('{store.where}').read('file')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]


# Processes.

_FORK = """
import os, sys
from ragdist.storage.store import Store
from ragdist.tools.errors import UserError
import obstore.store
store = Store("{where}")
if {used}:
    store.read("file")
child = os.fork()
if not child:
    try:
        print("child", store.read("file"))
    except UserError as error:
        print("child", error)
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
print("parent", store.read("file"))
"""


def test_a_forked_process_asks_by_itself_or_is_told_that_it_cannot(store):
    """The library's threads are not copied by a fork: a request of the child would wait for ever."""
    store.write("file", b"text")
    code = _FORK.format(where=store.where, used=False)
    assert run(code).stdout.splitlines() == ["child b'text'", "parent b'text'"]
    child, parent = run(_FORK.format(where=store.where, used=True)).stdout.splitlines()
    assert "a fork of one that used an object store: start it by spawn or forkserver" in child
    assert parent == "parent b'text'"


# What the environment says.


def profiles(home: Path, credentials: str, config: str = "") -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(credentials)
    (home / ".aws" / "config").write_text(config)


@pytest.fixture
def home(store, s3, tmp_path, monkeypatch) -> Path:
    """A home folder of someone who has no keys in the environment; ``store`` holds a file."""
    store.write("file", b"text")
    for name in s3:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


KEYS = "aws_access_key_id = {}\naws_secret_access_key = {}\n".format


def test_keys_region_and_endpoint_of_a_profile_are_read(home, store, s3, monkeypatch):
    config = f"[profile mine]\nregion = us-east-1\nendpoint_url = {s3['AWS_ENDPOINT_URL']}\n"
    profiles(home, f"[default]\n{KEYS('some', 'other')}[mine]\n{KEYS('test', 'secret')}", config)
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert store.read("file") == b"text"
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"])
    with pytest.raises(UserError, match="InvalidAccessKeyId"):  # the default profile's
        store.read("file")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")  # the environment comes first
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert store.read("file") == b"text"


def test_a_profile_without_keys_is_asked_through_boto3(home, store, s3, monkeypatch):
    answer = '{"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "secret"}'
    (home / "ask").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (home / "ask").chmod(0o755)
    profiles(home, "", f"[profile asked]\ncredential_process = {home}/ask\nendpoint_url = {s3['AWS_ENDPOINT_URL']}\n")
    monkeypatch.setenv("AWS_PROFILE", "asked")
    assert store.read("file") == b"text"
    monkeypatch.setitem(sys.modules, "boto3", None)
    object_store._made.cache_clear()
    with pytest.raises(UserError, match=r"the profile asked of ~/.aws has no keys .* pip install boto3"):
        store.read("file")


def test_an_unknown_profile_is_named(home, store, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match="no credentials in the profile nobody of AWS_PROFILE"):
        store.read("file")


def test_public_data_need_no_credentials(home, s3, monkeypatch):
    s3_client(s3).put_object(Bucket="open", Key="file", Body=b"text")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert Store("s3://open").read("file") == b"text"


@pytest.mark.parametrize(
    ("where", "variables"),
    [
        ("gs://box/some", {"GOOGLE_BASE_URL": "", "GOOGLE_SKIP_SIGNATURE": "true"}),
        ("gcs://box/some", {"GOOGLE_BASE_URL": "", "GOOGLE_SKIP_SIGNATURE": "true"}),
        (
            "az://box/some",
            {"AZURE_STORAGE_ENDPOINT": "", "AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_SKIP_SIGNATURE": "true"},
        ),
        ("abfs://box@a.dfs.core.windows.net/some", {"AZURE_STORAGE_ENDPOINT": "", "AZURE_SKIP_SIGNATURE": "true"}),
    ],
)
def test_addresses_of_google_and_azure(where, variables, tmp_path, monkeypatch):
    """Reading is the plain requests that a web server answers, too."""
    (tmp_path / "root" / "box" / "some").mkdir(parents=True)
    (tmp_path / "root" / "box" / "some" / "file").write_bytes(b"0123456789")
    (tmp_path / "nginx").mkdir()
    with serving(tmp_path / "root", tmp_path / "nginx") as server:
        for name, value in variables.items():
            monkeypatch.setenv(name, value or server.url)
        assert Store(where).read("file") == b"0123456789"
        assert Store(where).stat("file")[0] == 10
        Store(where).fetch("file", 10, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == b"0123456789"
        with pytest.raises(FileNotFoundError):
            Store(where).read("nothing")
