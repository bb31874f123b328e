"""Commands in processes forked from one that has imported PyTorch: a start of each takes longer than most tests.

A command has its own arguments, working directory, environment, output and exit code, and nothing on standard input.
What Python and libraries read from the environment as they start they have read already: where a test sets such a
variable, and so for the seed of its hashes, it is a misfit. Tests of starting itself run `python -m`.

The processes of one test run share it: the first that needs it starts it, and it ends with the run.

What commands start by `multiprocessing` would import for as long: its interpreter is that of `tests.warm`, from a second
server, forked from the first. Where a test looks at such processes from outside, RAGDIST_TEST_COLD=1 has them started by
Python itself.
"""

import contextlib
import ctypes
import functools
import importlib
import json
import multiprocessing.spawn
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tests import warm

if TYPE_CHECKING:
    import psutil

WARM = sys.platform == "linux"  # what commands start is forked, too
READ_AT_START = ("PYTHON", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "LD_", "MALLOC_", "GLIBC_", "TORCH", "PYTORCH_", "CUDA_",
                 "LC_", "LANG", "TZ")  # fmt: skip
SET_BY_LIBRARIES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")  # in whoever imports them
STARTS = 300  # seconds for the imports
PR_SET_NAME = 15  # of <sys/prctl.h>
READ_LATER = "TORCHINDUCTOR_"  # by what torch.compile imports, which the server does not
ROOT = Path(__file__).parents[1]
SHORT = "/tmp"  # as a socket's path must be


class ForkServer:
    """One such process.

    Args:
        imports: the module that it imports first, for all it starts.
        environment: that it starts with; None: this process's.
        folder: where it is found by all who name it; None: it is for this process alone.
    """

    def __init__(self, imports: str, environment: dict[str, str] | None = None, folder: Path | None = None):
        self.folder = folder or Path(tempfile.mkdtemp(prefix="warm-", dir=SHORT))
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.environment = dict(os.environ if environment is None else environment)
        self.address, self.python = warm.write_launcher(str(self.folder))
        with FileLock(self.folder / "lock"):
            if not (self.folder / "pid").exists():
                self._launch(imports)
        self.pid = int((self.folder / "pid").read_text())

    def _launch(self, imports: str) -> None:
        owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self.folder / "commands"))
            listener.listen()  # those who connect before it is ready wait
            number = listener.fileno()
            argv = [sys.executable, "-m", "tests.fork_server", str(self.folder), str(number), imports, str(owner)]
            self.process = subprocess.Popen(
                argv, pass_fds=[number], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL
            )
        (self.folder / "pid").write_text(str(self.process.pid))

    def stop(self) -> None:
        """End a server that this process started for itself."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)

    def interpreter(self) -> str:
        """Python for what this process starts by `multiprocessing`: a path, once it has a server."""
        end = time.monotonic() + STARTS
        while WARM and socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect_ex(self.address):
            assert _runs(self.pid), "the fork server died"
            assert time.monotonic() < end, "the fork server did not start"
            time.sleep(0.05)
        return self.python if WARM else sys.executable

    def forked(self, launchers: list["psutil.Process"]) -> list["psutil.Process"]:
        """The processes that run what these, started by commands, stand for; of some there may be none yet."""
        import psutil

        if not WARM:
            return launchers
        found = {}
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # others come and go
                found[process.name()] = process
        return [found[name] for launcher in launchers if (name := f"for {launcher.pid}") in found]

    def misfits(self, environment: dict[str, str]) -> list[str]:
        """Variables with which a command would have started otherwise than this process did."""
        names = {name for name in {*environment, *self.environment} if name.startswith(READ_AT_START)}
        names -= {*SET_BY_LIBRARIES, *(name for name in names if name.startswith(READ_LATER))}
        return [name for name in sorted(names) if environment.get(name) != self.environment.get(name)]

    def start(self, argv: list[str], cwd: Path, environment: dict[str, str], *, session: bool = False) -> "Command":
        """``python -m *argv``; with ``session`` in a new session, as with a terminal of its own."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(STARTS)
        connection.connect(str(self.folder / "commands"))
        outputs = [_Output(), _Output()]
        wanted = {"argv": argv, "cwd": str(cwd), "environment": environment, "session": session}
        with tempfile.TemporaryFile() as request:  # which a message may be too short for
            request.write(json.dumps(wanted).encode())
            request.flush()
            socket.send_fds(connection, [b"x"], [request.fileno(), *(output.write_end for output in outputs)])
        for output in outputs:
            output.start()
        return Command(argv, _number(connection.recv(16)), connection, outputs)

    def run(self, argv: list[str], cwd: Path, environment: dict[str, str], timeout: float):
        """``python -m *argv`` until it and all that it started have closed their output, like `subprocess.run`.

        Raises:
            subprocess.TimeoutExpired: it was killed after ``timeout`` seconds.
        """
        started = self.start(argv, cwd, environment)
        try:
            texts = started.communicate(timeout)
        except BaseException:
            started.kill()
            raise
        return subprocess.CompletedProcess(argv, started.returncode, *texts)


@functools.cache
def fork_server(imports: str = "tests.imported") -> ForkServer:
    """This test run's, from its first command on."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return ForkServer(imports, folder=Path(SHORT, f"warm-{run[:12]}-{imports.rpartition('.')[2]}") if run else None)


class Command:
    """What the tests need of `subprocess.Popen`; all that it writes is read at once."""

    def __init__(self, argv: list[str], pid: int, answers: socket.socket, outputs: list["_Output"]):
        self.args, self.pid, self.answers, self.outputs = argv, pid, answers, outputs
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.answers.settimeout(timeout)
            try:
                self.returncode = _number(self.answers.recv(16))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout, *(o.read for o in self.outputs)) from None
            self.answers.close()
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        end = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)
        self.wait(timeout)
        try:
            out, err = (output.text(end - time.monotonic()) for output in self.outputs)
        except TimeoutError:
            raise subprocess.TimeoutExpired(self.args, timeout, *(o.read for o in self.outputs)) from None
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Output(threading.Thread):
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
        self.join(min(max(seconds, 0), threading.TIMEOUT_MAX))
        if self.is_alive():
            raise TimeoutError
        return self.read.decode()


def _number(message: bytes) -> int:
    assert message, "the fork server died"
    return int(message)


def main() -> None:
    folder, number, imports, owner = sys.argv[1:]
    importlib.import_module(imports)
    listener = socket.socket(fileno=int(number))
    address, python = warm.paths(folder)
    lives = serve_interpreters(address, python, listener) if WARM else None
    request = warm.Server(listener, lambda: not _lives(int(owner))).run()
    if request is None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
    if lives:
        lives.close()
        multiprocessing.spawn.set_executable(python)
    warm.end(warm.code_of(lambda: become(*request.files)))


def _lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may be there until whoever started it looks."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def serve_interpreters(address: str, python: str, listener: socket.socket) -> socket.socket:
    """Fork the server of the interpreter ``python``; it ends when the result is closed, in this process."""

    def become(request: warm.Request) -> None:
        name = f"for {request.launcher}"  # by which `ForkServer.forked` finds it
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())
        request.become(python)

    lives, life = socket.socketpair()
    if not os.fork():
        listener.close()
        lives.close()
        os.dup2(life.fileno(), 0)
        warm.serve(address, lambda: life.send(b"x"), become)
        os._exit(0)
    life.close()
    lives.recv(1)
    return lives


def become(request: int, out: int, err: int) -> None:
    """This forked process is ``python -m`` of what the request says."""
    with open(request, "rb") as file:
        file.seek(0)
        wanted = json.load(file)
    if wanted["session"]:
        os.setsid()
    for stream, number in ((out, 1), (err, 2)):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells have what they run beside them ignore
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup does
    sys.stdout.reconfigure(line_buffering=False)  # the fork server's may have been a terminal
    os.environ.clear()
    os.environ.update(wanted["environment"])
    tempfile.tempdir = None  # TMPDIR may be another
    if os.environ.get("RAGDIST_TEST_COLD"):
        multiprocessing.spawn.set_executable(sys.executable)
    os.chdir(wanted["cwd"])
    module, *arguments = wanted["argv"]
    sys.path[0] = wanted["cwd"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
