"""Lines at the bottom of a terminal that are drawn anew, by rich; what is printed meanwhile stays above them."""

import os
import sys
from typing import TextIO


def is_terminal(file: TextIO) -> bool:
    """Whether lines that were written to a file can be drawn anew."""
    return file.isatty() and os.environ.get("TERM") != "dumb"


class LiveLines:
    """Lines on a terminal, each cut at its width. No thread draws: a process may fork meanwhile.

    Args:
        file: the terminal, as `is_terminal` says.
    """

    def __init__(self, file: TextIO):
        from rich.console import Console
        from rich.live import Live

        self.console = Console(file=file, force_terminal=True, force_jupyter=False)
        self._live = Live(
            console=self.console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()
        self.console.show_cursor()  # a process that is killed could not bring it back

    @property
    def height(self) -> int:
        """Lines that the terminal has."""
        return self.console.size.height

    def draw(self, *lines: str) -> None:
        """Draw lines in place of those before."""
        from rich.text import Text

        overflow = "ellipsis" if self.console.encoding.startswith("utf") else "crop"
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow=overflow), refresh=True)

    def say(self, line: str) -> None:
        """Print a line above the live ones, uncut: the terminal breaks it, so that a copy of it has no breaks."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last lines on the terminal."""
        self._live.stop()
