"""A Python interpreter that starts warm: a program that has a server fork a process which has imported PyTorch and more.

Each of a Ray cluster's many processes, and each of its workers, imports for seconds; here that is done once. What is
forked has the launcher's arguments, environment, working directory, open files, priority and namespaces, gets the
signals that the launcher gets and dies with it; the launcher ends as it does. Ray and the project's own modules are not
imported before: they are to find the environment and the path of their process.

What Python and PyTorch read from the environment as they start they have read already, but for the number of threads.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import os
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

# Not Ray, which reads most of its settings from the environment as it is imported, but what it imports.
IMPORTS = ("torch", "torch.utils.tensorboard", "pandas", "pyarrow.fs", "pyarrow.parquet", "pyarrow.compute", "pydantic",
           "grpc", "grpc.aio", "google.protobuf.text_format", "google.protobuf.json_format", "aiohttp.web", "requests",
           "prometheus_client", "jsonschema", "rich.console", "rich.table", "click", "dill", "msgpack", "filelock",
           "fsspec", "yaml", "tqdm", "attr", "jsonargparse", "safetensors.torch")  # fmt: skip
# Ray's agents know by a pipe, and not by who started them, whether their raylet lives.
SETTINGS = {"RAY_enable_pipe_based_agent_to_parent_health_check": "1"}
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
MOST_FILES = 250  # that one message takes
NAMESPACES = {"mnt": 0x20000, "net": 0x40000000}  # CLONE_NEWNS and CLONE_NEWNET of <sched.h>
CLONE_FS = 0x200
# Without what makes a start of Python slow: the modules that it uses are built in.
LAUNCHER = """#!{python} -ISE
import array, os, sys
import _signal as signal
from _socket import AF_UNIX, SOCK_SEQPACKET, SOL_SOCKET, SCM_RIGHTS, socket

arguments = sys.argv[1:]
program = [word for word in arguments if word != "-u"]
if not program or (program[0].startswith("-") and program[0] not in ("-c", "-m")):
    os.execv({python!r}, [{python!r}, *arguments])
files = [int(name) for name in os.listdir("/proc/self/fd")]
files = [number for number in files if os.path.exists(f"/proc/self/fd/{{number}}")]  # one was that of the folder
server = socket(AF_UNIX, SOCK_SEQPACKET)
server.connect({address!r})
variables = [name + b"=" + value for name, value in os.environb.items()]
parts = [[os.fsencode(os.getcwd())], [b"%d" % number for number in files], map(os.fsencode, arguments), variables]
request = os.memfd_create("request")
os.write(request, b"\\1".join(map(b"\\0".join, parts)))
server.sendmsg([b"x"], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", [request, *files]))])
child = int(server.recv(16) or 0)

def forward(number, frame):
    try:
        os.kill(child, number)
    except ProcessLookupError:  # it has ended, which is told next
        pass

for number in {signals}:
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, forward)
code = int(server.recv(16) or 255)
if code < 0:
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def python() -> str:
    """The interpreter: a path. Its server begins with the first call and ends with this process.

    RAGDIST_TEST_COLD=1 stands for Python itself: an older Ray does not give forked processes the names of their actors.
    """
    if os.environ.get("RAGDIST_TEST_COLD"):
        return sys.executable
    server = Warm()
    atexit.register(server.stop)
    return server.python


def paths(folder: str) -> tuple[str, str]:
    """Where in a folder a server listens, and the interpreter that asks it."""
    return os.path.join(folder, "socket"), os.path.join(folder, "python")


def write_launcher(folder: str) -> tuple[str, str]:
    """An interpreter that asks a server, written into a folder: the server's address to be, and the interpreter's path."""
    address, launcher = paths(folder)
    text = LAUNCHER.format(python=sys.executable, address=address, signals=tuple(map(int, FORWARDED)))
    new = f"{launcher}.{os.getpid()}"  # others may be using the one that is there
    Path(new).write_text(text)
    os.chmod(new, 0o755)
    os.replace(new, launcher)
    return address, launcher


class Warm:
    """A server, and the interpreter that asks it: ``python``, a path."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp")  # short, as a socket's path must be
        address, self.python = write_launcher(self.folder.name)
        argv = [sys.executable, "-m", "tests.warm", address, self.python]
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(argv, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


class Server:
    """Forks a process for each launcher that connects; single-threaded, as what is forked must be.

    Args:
        listener: where they connect.
        over: whether it has ended for whom this serves, asked each second; None: that closes its standard input.
    """

    def __init__(self, listener: socket.socket, over: Callable[[], bool] | None = None):
        self.listener, self.over = listener, over
        self.children: dict[socket.socket, int] = {}  # 0 before it is forked
        self.ended, self.wake = socket.socketpair()
        for end in (self.ended, self.wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self.wake.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.selector = selectors.DefaultSelector()
        for readable in (self.listener, self.ended, *([] if over else [sys.stdin])):
            self.selector.register(readable, selectors.EVENT_READ)

    def run(self) -> "Request | None":
        """Serve; returns in each forked process, with what it is to be, and in this one at its end."""
        while not (self.over and self.over()):
            for key, _ in self.selector.select(1 if self.over else None):
                if key.fileobj is sys.stdin:  # who started this has ended
                    return None
                if key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    self.children[connection] = 0
                    self.selector.register(connection, selectors.EVENT_READ)
                elif key.fileobj is self.ended:
                    self.ended.recv(4096)
                    self._reap()
                elif key.fileobj in self.children and (request := self._heard(key.fileobj)):
                    return request
        return None

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for connection in [each for each, pid in self.children.items() if pid == found[0]]:
                    _send(connection, os.waitstatus_to_exitcode(found[1]))
                    self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        del self.children[connection]
        self.selector.unregister(connection)
        connection.close()

    def _heard(self, connection: socket.socket) -> "Request | None":
        files = []
        with contextlib.suppress(ConnectionError):
            files = socket.recv_fds(connection, 1, MOST_FILES)[1]
        if not files:  # the launcher is dead
            if pid := self.children[connection]:
                os.kill(pid, signal.SIGKILL)
            self._forget(connection)
            return None
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = os.fork()
        if not pid:
            self._leave()
            return Request(int.from_bytes(credentials[:4], sys.byteorder), files)
        for number in files:
            os.close(number)
        self.children[connection] = pid
        _send(connection, pid)
        return None

    def _leave(self) -> None:
        """In a forked process: nothing of the server's is left."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for each in (self.listener, self.ended, self.wake, *self.children):
            each.close()


def _send(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the launcher is dead, which is heard next
        connection.send(b"%d" % number)


class Request:
    """What a forked process is to be.

    Args:
        launcher: its PID.
        files: the first one says what, the others are the launcher's open ones.
    """

    def __init__(self, launcher: int, files: list[int]):
        self.launcher, self.files = launcher, files

    def become(self, python: str) -> None:
        """Be what the launcher would be as an interpreter; ``python`` is the launcher's path."""
        os.setsid()
        with open(self.files[0], "rb") as request:
            request.seek(0)
            parts = [part.split(b"\0") if part else [] for part in request.read().split(b"\1")]
        (folder,), numbers, arguments, variables = parts
        _take_files(self.files[1:], list(map(int, numbers)))
        _ignore_signals(self.launcher)
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, self.launcher))
        _enter(self.launcher)
        os.chdir(folder)
        of_server = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), sys.path[0]]
        os.environ.clear()
        os.environb.update(variable.split(b"=", 1) for variable in variables)
        tempfile.tempdir = None  # TMPDIR may be another
        own = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
        sys.path[:] = own + [place for place in sys.path if place not in of_server]
        sys.modules.pop("tests")
        sys.executable = sys._base_executable = python
        _use_threads()
        _run(list(map(os.fsdecode, arguments)))


def _take_files(files: list[int], numbers: list[int]) -> None:
    """Give each file the number that it has in the launcher."""
    free = 1 + max([*files, *numbers])
    aside = [os.dup2(number, free + place) for place, number in enumerate(files)]
    for number in files:
        os.close(number)
    for number, wanted in zip(aside, numbers, strict=True):
        os.dup2(number, wanted)
        os.close(number)


def _ignore_signals(pid: int) -> None:
    """Ignore what another process ignores, as a program that it executes would."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(re.search(r"^SigIgn:\t(\w+)$", status, re.MULTILINE)[1], 16)
    for number in FORWARDED:
        if ignored >> (number - 1) & 1:
            signal.signal(number, signal.SIG_IGN)


def _enter(pid: int) -> None:
    """Enter the namespaces of another process."""
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, flag in NAMESPACES.items():
        theirs, own = f"/proc/{pid}/ns/{kind}", f"/proc/self/ns/{kind}"
        if os.path.samefile(theirs, own):
            continue
        with open(theirs) as file:
            # What threads of a process share by CLONE_FS has to be given up before the mounts change.
            if (kind == "mnt" and libc.unshare(CLONE_FS)) or libc.setns(file.fileno(), flag):
                raise OSError(ctypes.get_errno(), f"cannot enter {theirs}")


def _use_threads() -> None:
    import multiprocessing.spawn

    import torch

    multiprocessing.spawn.set_executable(sys.executable)
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))


def _run(arguments: list[str]) -> None:
    """Run what an interpreter with these arguments runs."""
    unbuffered = arguments[0] == "-u" or bool(os.environ.get("PYTHONUNBUFFERED"))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=unbuffered, line_buffering=stream is sys.stderr)
    kind, *rest = [word for word in arguments[:1] if word != "-u"] + arguments[1:]
    if kind == "-c":
        code, *rest = rest
        sys.argv = ["-c", *rest]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = type(sys)("__main__")
        exec(compile(code, "<string>", "exec"), vars(main))
    elif kind == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *rest]
        sys.path.insert(0, os.path.dirname(os.path.realpath(kind)))
        runpy.run_path(kind, run_name="__main__")


def code_of(program: Callable[[], None]) -> int:
    """The exit code of an interpreter that runs a program; below 0 the signal that it ends by."""
    try:
        program()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        return -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> None:
    """As an interpreter ends, but for the teardown of all that the server has imported, which takes seconds."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        signal.raise_signal(-code)
    os._exit(code)


def serve(address: str, ready: Callable[[], None], become: Callable[[Request], None]) -> None:
    """Serve until standard input ends; each forked process ends in here, too, after it was what ``become`` made it."""
    assert threading.active_count() == 1
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(100)
    server = Server(listener)
    ready()
    if request := server.run():
        end(code_of(lambda: become(request)))


def main() -> None:
    address, python = sys.argv[1:]
    gc.disable()
    for name in IMPORTS:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    serve(address, lambda: print("ready", flush=True), lambda request: request.become(python))


if __name__ == "__main__":
    main()
