"""nginx over a folder, for benchmarks that read over HTTP."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nginx(root: Path, host: str, port: int, inside: Sequence[str] = ()) -> Iterator[str]:
    """The URL of a server over ``root`` that listens there; ``inside`` is a command that it is started by."""
    user = "user root;" if os.getuid() == 0 else ""  # its workers are to read this user's files
    with tempfile.TemporaryDirectory() as folder:
        temporary = " ".join(f"{kind}_temp_path {folder};" for kind in
                             ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        config = Path(folder) / "nginx.conf"
        config.write_text(
            f"daemon off; {user} pid {folder}/pid; events {{ }} http {{ access_log off; sendfile on; {temporary} "
            f"server {{ listen {host}:{port}; root {root.resolve()}; }} }}"
        )
        server = subprocess.Popen([*inside, "nginx", "-c", str(config), "-e", f"{folder}/error.log"])
        try:
            _wait(host, port, server)
            yield f"http://{host}:{port}"
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(host: str, port: int, server: subprocess.Popen, seconds: float = 20) -> None:
    """Wait until the server takes connections."""
    end = time.monotonic() + seconds
    while True:
        assert server.poll() is None, "nginx ended"
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nginx does not answer at {host}:{port}"
            time.sleep(0.05)
