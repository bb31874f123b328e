"""One process at a time writes to a run behind a URL."""

import contextlib
import hashlib
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ragdist.runs import remote_lease as lease_file
from ragdist.runs.lease import Lease
from ragdist.runs.remote_lease import LOCK, hold, token_of
from ragdist.storage import retry
from ragdist.storage.store import Store
from ragdist.tools.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease_file, "BEAT", 0.4)
    monkeypatch.setattr(lease_file, "SETTLING", 0.5)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)


def lease_of(token: str) -> Lease:
    lease = Lease()
    lease.token = token
    return lease


def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


_START = """
import sys, time
from ragdist.runs import remote_lease
from ragdist.storage.store import Store
from ragdist.tools.errors import UserError
from ragdist.runs.lease import Lease
remote_lease.BEAT = 0.3
Store("{url}/warm").list()
print("ready", flush=True)
for line in sys.stdin:
    number, moment = line.split()
    time.sleep(float(moment) - time.time())
    lease = Lease()
    try:
        with remote_lease.hold(Store(f"{url}/{{number}}"), lease):
            time.sleep(2)
            said = "lost" if lease.lost else "won"
    except UserError as error:
        said = str(error)
    print(said, flush=True)
"""


def _outcome(process: subprocess.Popen) -> str:
    """What a process says in the end: one that came a little later waits before to see whether the other lives."""
    while "waiting" in (line := process.stdout.readline().strip()):
        pass
    return line


def test_of_two_processes_that_start_at_once_one_wins(s3):
    url = "s3://bucket/at-once"
    argv = [sys.executable, "-c", _START.format(url=url)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen([*argv, name], **pipes)) for name in "ab"]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for number in range(4):
            moment = time.time() + 0.3
            for process in processes:
                process.stdin.write(f"{number} {moment}\n")
            said = sorted(map(_outcome, processes))
            assert said[1] == "won", said
            assert f"{url}/{number} is in use by process" in said[0], said
            assert Store(f"{url}/{number}").list() == {}
        for process in processes:
            process.stdin.close()


def test_what_a_dead_process_held_is_taken(s3, capsys):
    store = Store("s3://bucket/dead")
    store.write(LOCK, b"process 1 on there\nold\n7\n")
    lease = lease_of("mine")
    with hold(store, lease):
        assert token_of(store.read(LOCK)) == "mine"
    assert "is locked by process 1 on there: waiting 1 s" in capsys.readouterr().out
    assert store.list() == {}


def test_a_process_thought_dead_cannot_take_it_back(s3):
    """It wakes up, and finds another's: it writes over nothing and deletes nothing."""
    store, lease = Store("s3://bucket/woken"), lease_of("sleeper")
    with hold(store, lease):
        store.write(LOCK, b"process 2 on there\nother\n0\n")
        until(lambda: lease.lost)
        with pytest.raises(UserError, match="took this run over"):
            lease.check()
    assert token_of(store.read(LOCK)) == "other"


def test_what_someone_deleted_by_hand_is_written_again(s3):
    store, lease = Store("s3://bucket/deleted"), lease_of("mine")
    with hold(store, lease):
        store.delete(LOCK)
        until(lambda: LOCK in store.list())
        assert not lease.lost
        assert token_of(store.read(LOCK)) == "mine"


def test_a_bucket_that_is_not_there_is_one_line(s3):
    with pytest.raises(UserError, match="no such bucket"), hold(Store("s3://no-such-bucket/run"), lease_of("mine")):
        pass


class Other(BaseHTTPRequestHandler):
    """Another kind of server: what it makes of conditions, and how many answers to writes are lost, is the server's."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.server.files.get(self.path)
        self.answer(404 if found is None else 200, found or b"")

    def do_PUT(self) -> None:
        data, kept = self.rfile.read(int(self.headers["Content-Length"])), self.server.files.get(self.path)
        new, match = self.headers["If-None-Match"], self.headers["If-Match"]
        if (new or match) and self.server.conditions == "refused":
            return self.answer(501)
        unmet = (new and kept is not None) or (match and (kept is None or match != tag(kept)))
        if unmet and self.server.conditions == "kept":
            return self.answer(412)
        self.server.files[self.path] = data
        if self.server.lost:
            self.server.lost -= 1
            self.close_connection = True
            return None
        return self.answer(200, tag_of=data)

    def do_DELETE(self) -> None:
        self.answer(204 if self.server.files.pop(self.path, None) is not None else 404)

    def answer(self, status: int, body: bytes = b"", tag_of: bytes | None = None) -> None:
        self.send_response(status)
        self.send_header("ETag", tag(body if tag_of is None else tag_of))
        self.send_header("Last-Modified", self.date_time_string())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@pytest.fixture
def other(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    server.files, server.conditions, server.lost = {}, "kept", 0
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_lost_answer_does_not_lose_the_lease(other):
    """What was written meets its own writer, who makes the request again."""
    lease = lease_of("mine")
    other.lost = 1
    with hold(Store("s3://box/run"), lease):
        for _ in range(2):
            before = other.files["/box/run/lock"]
            other.lost = 1
            until(lambda before=before: not other.lost and other.files["/box/run/lock"] != before)
        time.sleep(1)
        assert not lease.lost
    assert other.files == {}


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
def test_a_store_without_conditions_is_said_once(other, conditions, capsys):
    other.conditions = conditions
    lease, store = lease_of("mine"), Store("s3://box/run")
    with hold(store, lease):
        with pytest.raises(UserError, match="is in use by process"), hold(store, lease_of("late")):
            pass
        time.sleep(1)
        assert not lease.lost
        assert token_of(store.read(LOCK)) == "mine"
    assert other.files == {}
    assert capsys.readouterr().err.count("the store has no conditional writes") == 1
    with hold(store, lease):
        store.write(LOCK, b"someone\nelse\n0\n")
        until(lambda: lease.lost)
    assert token_of(store.read(LOCK)) == "else"
