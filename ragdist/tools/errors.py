"""Errors that users can mend: one clear line and exit code 2."""

import difflib
import gc
import sys
from collections.abc import Callable, Iterable

from ragdist.tools import limits


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
    """Run a command's ``main`` and exit: 0 (or what it returns), 2 for a mistake, 130 after Ctrl-C, 141 unread."""
    try:
        code = command()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # Where it came while a string was executed, as in making a dataclass, Python remembers that and ends by SIGINT
        # whatever the exit code is (`unhandled_keyboard_interrupt`), unless it has executed another string since.
        exec("", {})
        code = 130
    except BrokenPipeError:  # `... --help | head`: the reader has seen enough; a run was cut short, though
        sys.stderr.close()
        code = 141
    except (OSError, MemoryError, RuntimeError) as error:
        if not (limit := limits.reached(error)):
            raise
        print(f"error: {limit}", file=sys.stderr)
        code = 2
    if "triton" not in sys.modules:  # whose bindings would list all that is never freed
        gc.freeze()  # else Python looks through all that PyTorch made for garbage before it ends: a second
    sys.exit(code)
