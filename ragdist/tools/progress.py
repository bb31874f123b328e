"""Progress: one live line on a terminal, a line every half minute elsewhere."""

import sys
import time

from ragdist.tools.live import LiveLines, is_terminal

SECONDS, _LIVE_SECONDS = 30.0, 0.5  # between lines where there is no terminal, and between drawings on one


class Progress:
    """Counts items towards a total.

    Args:
        total: items in all.
        done: items done before the start.
        unit: what an item is, in the plural.
        first: print a line at the first `describe` already.
    """

    def __init__(self, total: int, *, unit: str, done: int = 0, first: bool = True):
        self.total, self.start, self.done, self.unit = max(total, done), done, done, unit
        self.text = ""
        self.began = time.perf_counter()
        self.shown = 0.0 if first else self.began
        self.live = LiveLines(sys.stderr) if is_terminal(sys.stderr) else None
        if self.live:
            self.live.draw(self._line(self.began))

    def advance(self, count: int) -> None:
        """Count items."""
        self.done += count
        if self.live:
            self._show(_LIVE_SECONDS)

    def describe(self, text: str = "") -> None:
        """Show the count, when it is time, with a text beside it."""
        self.text = text
        self._show(_LIVE_SECONDS if self.live else SECONDS)

    def say(self, line: str) -> None:
        """Print a line on stdout; a live one stays below it."""
        if self.live and sys.stdout.isatty():
            self.live.say(line)
        else:
            print(line, flush=True)

    def _show(self, seconds: float) -> None:
        now = time.perf_counter()
        if (now - self.shown < seconds and self.done < self.total) or self.done == self.start:
            return
        line = self._line(now)
        self.shown = now
        if self.live:
            self.live.draw(line)
        else:
            print(line, flush=True)

    def _line(self, now: float) -> str:
        parts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if self.shown and self.done > self.start:  # the first line's rate would be that of starting up
            rate = (self.done - self.start) / (now - self.began)
            shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            parts += [f"{shown} {self.unit.split()[0]}/s", f"ETA {_clock(max(self.total - self.done, 0) / rate)}"]
        return "  ".join([*parts, self.text]).rstrip()

    def close(self) -> None:
        """Leave the last line on the terminal."""
        if self.live:
            if self.done < self.total:  # else the last line is there, with the rate until then
                self.live.draw(self._line(time.perf_counter()))
            self.live.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
