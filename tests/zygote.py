"""Commands in processes forked from one that has imported PyTorch: a start of each takes longer than most tests.

A command has its own arguments, working directory, environment, output and exit code, and nothing on standard input.
What Python and libraries read from the environment as they start they have read already: where a test sets such a
variable, and so for the seed of its hashes, `fits` is false. Tests of starting itself run `python -m`.
"""

import array
import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

READ_AT_START = ("PYTHON", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "LD_", "MALLOC_", "GLIBC_", "TORCH", "PYTORCH_", "CUDA_",
                 "LC_", "LANG", "TZ")  # fmt: skip


class Zygote:
    """One such process; it ends with this one."""

    def __init__(self):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, "-m", "tests.zygote", str(theirs.fileno())]
        root = Path(__file__).parents[1]
        self.environment = dict(os.environ)
        self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], cwd=root, stdin=subprocess.DEVNULL)
        theirs.close()
        atexit.register(self.stop)

    def stop(self) -> None:
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()

    def fits(self, environment: dict[str, str]) -> bool:
        """Whether a command would have started with what this process started with."""
        names = {*environment, *self.environment}
        return all(environment.get(n) == self.environment.get(n) for n in names if n.startswith(READ_AT_START))

    def run(self, argv: list[str], cwd: Path, environment: dict[str, str], timeout: float):
        """``python -m *argv`` until it and all that it started have closed their output, like `subprocess.run`.

        Raises:
            subprocess.TimeoutExpired: it was killed after ``timeout`` seconds.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # its own: no reply is another's
        outputs = [_Output(), _Output()]
        with ours, tempfile.TemporaryFile() as request:  # which a message may be too short for
            request.write(json.dumps({"argv": argv, "cwd": str(cwd), "environment": environment}).encode())
            request.flush()
            with theirs:
                ends = [output.write_end for output in outputs]
                socket.send_fds(self.socket, [b"x"], [request.fileno(), theirs.fileno(), *ends])
            for output in outputs:
                output.start()
            pid = 0
            try:
                ours.settimeout(120)  # the first has to wait for the imports
                pid = _number(ours.recv(8))
                ours.settimeout(timeout)
                end = time.monotonic() + timeout
                code = _number(ours.recv(8))
                texts = [output.text(end - time.monotonic()) for output in outputs]
            except BaseException as error:
                if pid > 1:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if isinstance(error, TimeoutError):
                    raise subprocess.TimeoutExpired(argv, timeout, *(output.read for output in outputs)) from None
                raise
        return subprocess.CompletedProcess(argv, code, *texts)


class _Output(Thread):
    """A pipe, read to its end."""

    def __init__(self):
        super().__init__(daemon=True)
        self.read_end, self.write_end = os.pipe()
        self.read = b""

    def start(self) -> None:
        os.close(self.write_end)
        super().start()

    def run(self) -> None:
        with open(self.read_end, "rb") as file:
            while part := file.read1():
                self.read += part

    def text(self, seconds: float) -> str:
        self.join(max(seconds, 0))
        if self.is_alive():
            raise TimeoutError
        return self.read.decode()


def _number(message: bytes) -> int:
    assert message, "the zygote died"
    return array.array("q", message)[0]


def main() -> None:
    import tests.imported  # noqa: F401

    connection = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1, 4)
        if not message:  # who asks has ended
            return
        request, answer, out, err = descriptors
        pid = os.fork()
        if not pid:
            break
        for descriptor in (request, out, err):
            os.close(descriptor)
        with socket.socket(fileno=answer) as answers, contextlib.suppress(BrokenPipeError):
            answers.send(array.array("q", [pid]).tobytes())
            _, status = os.waitpid(pid, 0)
            answers.send(array.array("q", [os.waitstatus_to_exitcode(status)]).tobytes())
    connection.close()
    os.close(answer)
    become(request, out, err)


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
