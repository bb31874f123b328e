"""Standard streams by which no command fails: what cannot be written is lost, and not the work that it tells of."""

import io
import os
import select
import sys

_STRICT = ("strict", "surrogateescape", "surrogatepass")  # ways to encode that refuse some characters


class _Output(io.FileIO):
    """A file to which writing always succeeds. What a full disk or a reader that has gone does not take is lost."""

    failure: OSError | None = None  # the first

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(view):
                some = super().write(view[written:])
                if some is None:  # it does not wait, for whoever shares it has made it so
                    select.select([], [self], [])
                written += some or 0
        except OSError as error:
            self.failure = self.failure or error
        return len(view)


def protect() -> None:
    """Make this process's standard streams ones that can always be printed to.

    A character that the encoding lacks is escaped. A stream that is closed becomes /dev/null, for child processes, too:
    the next file to be opened would get its number, and with that all that is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for as long as the process runs
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__"):  # else it was replaced, as by a test
            setattr(sys, name, _protected(stream, number))


def _protected(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    raw = _Output(number, "w", closefd=False)
    raw.name = stream.name
    try:
        stream.flush()
    except OSError as error:
        raw.failure = error
    found = io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors in _STRICT else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    found.mode = stream.mode  # which pickles of standard streams ask for
    return found


def failure(stream: io.TextIOBase) -> OSError | None:
    """Flush a stream; the first failure of what was written to it since `protect`."""
    stream.flush()
    raw = getattr(stream, "buffer", None)
    raw = getattr(raw, "raw", raw)
    return raw.failure if isinstance(raw, _Output) else None
