"""Python as macOS has it, as far as our own code can tell: without what is Linux's alone.

On the path of a process and all that it starts. Libraries that are compiled for Linux go on as they are; with ELSEWHERE
in the environment naming a platform, they are told that it is this one.
"""

import ctypes
import os
import platform
import select
import signal
import sys
import sysconfig

MISSING = {
    os: "sched_getaffinity sched_setaffinity process_cpu_count pidfd_open posix_fadvise posix_fallocate memfd_create "
    "eventfd splice copy_file_range getrandom setns unshare getxattr setxattr listxattr pipe2 fdatasync O_DIRECT "
    "O_TMPFILE P_PIDFD",
    signal: "SIGRTMIN SIGRTMAX SIGPWR SIGPOLL SIGSTKFLT sigtimedwait sigwaitinfo pidfd_send_signal",
    select: "epoll",
}
HIDDEN = ("/proc", "/sys", "/dev/shm")
FUNCTIONS = {"prctl", "mallopt", "malloc_trim", "gettid", "sched_getcpu", "unshare", "setns"}
STDLIB, LIBRARIES = sysconfig.get_path("stdlib"), f"{os.sep}site-packages{os.sep}"

for module, names in MISSING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
platform.libc_ver = lambda *_, **__: ("", "")
if named := os.environ.get("ELSEWHERE"):
    sys.platform = named


def _ours() -> bool:
    """Whether the code that asks is ours; the standard library asks for whoever called it."""
    frame = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if LIBRARIES in file:
            return False
        if file != __file__ and not file.startswith((STDLIB, "<frozen")):
            return True
        frame = frame.f_back
    return False


def _hidden(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    text = os.fsdecode(path)
    return any(text == place or text.startswith(place + "/") for place in HIDDEN) and _ours()


def _watch(event: str, arguments: tuple) -> None:
    if event in ("open", "os.listdir", "os.scandir") and _hidden(arguments[0]):
        raise FileNotFoundError(2, os.strerror(2), arguments[0])
    if event == "ctypes.dlsym" and arguments[1] in FUNCTIONS and _ours():
        raise AttributeError(f"undefined symbol: {arguments[1]}")


def _without(function):
    def call(path, *arguments, **keywords):
        if _hidden(path):
            raise FileNotFoundError(2, os.strerror(2), path)
        return function(path, *arguments, **keywords)

    return call


sys.addaudithook(_watch)
for name in ("stat", "lstat", "readlink", "statvfs"):
    setattr(os, name, _without(getattr(os, name)))
assert ctypes  # its symbols are looked up through the hook
