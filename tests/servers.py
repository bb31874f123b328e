"""Real servers on the loopback interface: nginx, and an S3-compatible one."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    log_format plain '$status $body_bytes_sent $uri $remote_addr';
    access_log {folder}/access.log plain;
    client_body_temp_path {folder}/temp;
    proxy_temp_path {folder}/temp;
    fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp;
    scgi_temp_path {folder}/temp;
    limit_req_zone $binary_remote_addr zone=busy:1m rate=4r/s;
    server {{
        listen {host}:{port};
        location / {{ root {root}; }}
        location /slow/ {{ alias {root}/; limit_rate 80k; }}
        location /busy/ {{ alias {root}/; }}
        location ~ ^/busy/(.*[.]tar)$ {{ alias {root}/$1; limit_req zone=busy; limit_req_status 503; }}
        location /secret/ {{ return 403; }}
        location /node0/ {{ alias {root}/; }}
        location /node1/ {{ alias {root}/; }}
        location /node2/ {{ alias {root}/; }}
        location /node3/ {{ alias {root}/; }}
    }}
}}
"""


class Nginx:
    """nginx over a folder: plain at /, 80 KB/s at /slow/, four tars a second at /busy/, the rest 503."""

    def __init__(self, root: Path, folder: Path, host: str = "127.0.0.1"):
        self.root, self.folder, self.port = root, folder, free_port()
        self.url = f"http://{host}:{self.port}"
        user = "user root;" if os.getuid() == 0 else ""  # its workers are to read this user's files
        (folder / "nginx.conf").write_text(
            _CONFIG.format(folder=folder, root=root, host=host, port=self.port, user=user)
        )
        self.process = subprocess.Popen(
            ["nginx", "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"], start_new_session=True
        )
        # It writes its number once the port is its own: another process may have taken that meanwhile, and would answer.
        while not (folder / "nginx.pid").exists():
            assert self.process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.01)
        wait_for_http(f"{self.url}/")

    def requests(self) -> list[tuple[int, int, str]]:
        """(status, bytes of the body, path) of each answer so far."""
        return [(status, sent, path) for _, status, sent, path in self.clients()]

    def clients(self) -> list[tuple[str, int, int, str]]:
        """(client's address, status, bytes of the body, path) of each answer so far."""
        lines = (self.folder / "access.log").read_text().splitlines()
        words = [(*line.split(" ", 2)[:2], *line.split(" ", 2)[2].rsplit(" ", 1)) for line in lines]
        return [(client, int(status), int(sent), path) for status, sent, path, client in words]

    def kill_worker(self) -> None:
        """SIGKILL to the process that answers: its connections break off; the master starts another."""
        for child in _children(self.process.pid):
            os.kill(child, signal.SIGKILL)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_http(url: str, seconds: float = 60, expected: int | None = None) -> None:
    """Wait until something answers, whatever it says, or with the status that is expected."""
    end = time.time() + seconds
    while True:
        status = None
        with suppress(OSError):
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                status = error.code
        if status is not None and expected in (None, status):
            return
        assert time.time() < end, f"{url} answers {status}"
        time.sleep(0.05)


@contextmanager
def serving(root: Path, folder: Path, host: str = "127.0.0.1") -> Iterator[Nginx]:
    """nginx over ``root`` with its own files in ``folder``; skips where it is not installed."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    server = Nginx(root, folder, host)
    try:
        yield server
    finally:
        server.stop()


class Gate:
    """A port of this machine that leads to another one while it is open; shut, it refuses and cuts what there is.

    It lets ``rate`` bytes a second through each connection in either direction; with 0 they stay open and nothing comes.
    """

    def __init__(self, target: int, rate: float = math.inf):
        self.target, self.port, self.rate = target, free_port(), rate
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def shut(self) -> None:
        with self._lock:
            ends, self._open, self._listener = [self._listener, *self._open], [], None
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # it was shut
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", self.target))
                with self._lock:
                    if listener is not self._listener:  # it was shut meanwhile
                        here.close()
                        there.close()
                        return
                    self._open += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=[a, b], daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536 if self.rate == math.inf else 8192):
                while not self.rate:
                    time.sleep(0.05)
                time.sleep(len(data) / self.rate)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


_IDENTITIES = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": "test", "secretKey": "secret"}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        },
        {"name": "anonymous", "actions": ["Read:open", "List:open"]},
    ]
}
_PORTS = ("master", "volume", "filer", "s3", "admin")


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """An S3-compatible server process (SeaweedFS); the environment that leads clients to it.

    It has two buckets: "bucket", and "open" that anyone may read.
    """
    ports = {f"{name}.port{kind}": free_port() for name in _PORTS for kind in ("", ".grpc")}
    ports |= {"s3.port.iceberg": 0, "s3.port.lance": 0}  # none
    off = ("master.telemetry", "s3.autoCreateBucket", "s3.iam", "webdav", "admin.ui")
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        (Path(folder) / "identities.json").write_text(json.dumps(_IDENTITIES))
        process = subprocess.Popen(
            [Path(sys.executable).with_name("weed"), f"-logdir={folder}", "mini", f"-dir={folder}", f"-ip={host}",
             f"-ip.bind={host}", *(f"-{name}={port}" for name, port in ports.items()), *(f"-{name}=false" for name in off),
             f"-s3.config={folder}/identities.json", "-bucket=bucket,open", f"-filer.localSocket={folder}/filer.sock",
             f"-s3.localSocket={folder}/s3.sock"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            address = f"http://{host}:{ports['s3.port']}"
            wait_for_http(f"{address}/open/", expected=200)
            yield {
                "AWS_ENDPOINT_URL": address,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            process.kill()  # nothing in it is kept, and it would take seconds to end by itself
            process.wait(20)
            for port in ports.values():
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)


def s3_client(environment: dict[str, str]):
    """Another client of the server, to prepare it and to look at what is there."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
