"""Errors that users can mend: one clear line and exit code 2."""

import difflib
import gc
import os
import sys
from collections.abc import Callable, Iterable

from ragdist.tools import limits, streams


class UserError(Exception):
    """A user's mistake in one line: what is wrong, where, and what to do. Commands print it and exit with 2."""


class Diverged(UserError):
    """A training that diverged: losses, gradients or samples that are not finite."""


class Unreachable(UserError):
    """Something outside of this process that does not answer, or is in use: another try may succeed."""


class TooNew(UserError):
    """A file that holds what is not known here: a newer ragdist wrote it, or one with a plugin."""


def nearest(name: str, known: Iterable[str], *, shown: Iterable[str] | None = None) -> str:
    """A hint for a message: ``; did you mean 'x'?`` with the closest known name, or the list of ``shown``."""
    known = list(known)
    shown = known if shown is None else list(shown)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(shown)}"


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit.

    Exit code: 0 or what ``main`` returns; 2 for a mistake, or where output is lost; 130 after Ctrl-C; 141 where all was
    done and whoever read the output had gone, as with ``| head``.
    """
    streams.protect()
    try:
        _check_working_directory()
        code = command()
    except SystemExit as end:  # --help
        code = end.code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except (UnicodeError, OSError, MemoryError, RuntimeError) as error:
        if not (why := _lacking(error)):
            raise
        print(f"error: {why}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # Where it came while a string was executed, as in making a dataclass, Python remembers that and ends by SIGINT
        # whatever the exit code is (`unhandled_keyboard_interrupt`), unless it has executed another string since.
        exec("", {})
        code = 130
    lost = _lost_output()
    code = code or lost
    if "triton" not in sys.modules:  # whose bindings would list all that is never freed
        gc.freeze()  # else Python looks through all that PyTorch made for garbage before it ends: a second
    sys.exit(code)


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("the working directory is gone: change to one that is there") from error


def _lacking(error: Exception) -> str:
    """What the process's environment lacks, and what to do, where that is the reason of an error; else empty."""
    encoding = sys.getfilesystemencoding()
    if isinstance(error, UnicodeError) and getattr(error, "encoding", "") == encoding != "utf-8":
        return f"a name is not of the locale's encoding, {encoding}: set PYTHONUTF8=1"
    if isinstance(error, RuntimeError) and "determine home directory" in str(error):  # pathlib's
        return "there is no home folder for this user: set HOME to one"
    return limits.reached(error) or ""


def _lost_output() -> int:
    """Say that output was lost, and the exit code for that: 0 where none was."""
    code = 0
    for stream, name in ((sys.stdout, "standard output"), (sys.stderr, "standard error")):
        failure = streams.failure(stream)
        if isinstance(failure, BrokenPipeError):
            code = code or 141
        elif failure:
            why = f"cannot be written ({failure.strerror}): some of what was to be printed is lost, and nothing else"
            print(f"error: {name} {why}", file=sys.stderr)
            code = 2
    return code
