"""Commands in processes forked from one that has imported PyTorch: a start of each takes longer than most tests.

What a command sees is what `python -m` shows it: arguments, working directory, environment, its own standard streams.
What Python and libraries read from the environment as they start they have read already: tests that set such a
variable, or are about starting, run `python -m` itself.
"""

import array
import atexit
import contextlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

READ_AT_START = ("PYTHON", "OMP_", "MKL_", "LD_", "KMP_", "MALLOC_", "GLIBC_")


class Zygote:
    """One such process; it ends with this one."""

    def __init__(self):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, "-m", "tests.zygote", str(theirs.fileno())]
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], cwd=root, stdin=subprocess.DEVNULL)
        theirs.close()
        atexit.register(self.stop)

    def stop(self) -> None:
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()

    def run(self, argv: list[str], cwd: Path, environment: dict[str, str], timeout: float):
        """``python -m *argv`` to its end, a `subprocess.CompletedProcess`.

        Raises:
            subprocess.TimeoutExpired: it was killed after ``timeout`` seconds.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = {"argv": argv, "cwd": str(cwd), "environment": environment}
            with tempfile.TemporaryFile() as file:  # which a message may be too short for
                file.write(json.dumps(request).encode())
                file.flush()
                socket.send_fds(self.socket, [b"x"], [stream.fileno() for stream in (file, out, err)])
            self.socket.settimeout(60)
            pid = _number(self.socket.recv(8))
            self.socket.settimeout(timeout)
            try:
                code = _number(self.socket.recv(8))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self.socket.settimeout(60)
                self.socket.recv(8)
                raise subprocess.TimeoutExpired(argv, timeout, _text(out), _text(err)) from None
            return subprocess.CompletedProcess(argv, code, _text(out), _text(err))


def _number(message: bytes) -> int:
    assert message, "the zygote died"
    return array.array("q", message)[0]


def _text(file) -> str:
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-8").read()


def main() -> None:
    import tests.imported  # noqa: F401

    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
        if not message:  # who asks has ended
            return
        pid = os.fork()
        if not pid:
            break
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(array.array("q", [pid]).tobytes())
        _, status = os.waitpid(pid, 0)
        connection.send(array.array("q", [os.waitstatus_to_exitcode(status)]).tobytes())
    connection.close()
    become(*descriptors)


def become(request: int, out: int, err: int) -> None:
    """This forked process is ``python -m`` of what the request says."""
    with open(request, "rb") as file:
        file.seek(0)
        wanted = json.load(file)
    for stream, number in ((out, 1), (err, 2)):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=False)  # the zygote's may have been a terminal
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["cwd"])
    module, *arguments = wanted["argv"]
    sys.path[0] = wanted["cwd"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
