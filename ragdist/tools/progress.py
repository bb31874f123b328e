"""Progress: one live line on a terminal, a line every half minute elsewhere."""

import sys
import time

from tqdm import tqdm

SECONDS = 30.0  # between lines where there is no terminal


class Progress:
    """Counts items towards a total.

    Args:
        total: items in all.
        done: items done before the start.
        unit: what an item is, in the plural.
        first: print a line at the first `describe` already.
    """

    def __init__(self, total: int, *, done: int = 0, unit: str = "images", first: bool = True):
        self.live = sys.stderr.isatty()
        self.total, self.start, self.done, self.unit = max(total, done), done, done, unit
        self.bar = tqdm(
            total=self.total,
            initial=done,
            unit=f" {unit}",
            dynamic_ncols=True,
            mininterval=0.5,
            disable=not self.live,
            bar_format="{n:,}/{total:,}{unit}  {rate_noinv_fmt}  ETA {remaining}  {desc}",
        )
        self.text = ""
        self.began = time.perf_counter()
        self.shown = 0.0 if first else self.began

    def advance(self, count: int) -> None:
        self.done += count
        self.bar.update(count)

    def describe(self, text: str = "") -> None:
        """Show the count, when it is time, with a text beside it."""
        self.text = text
        if self.live:
            self.bar.set_description_str(text, refresh=False)
        else:
            self._line()

    def say(self, line: str) -> None:
        """Print a line; a live one stays below it."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def _line(self) -> None:
        now = time.perf_counter()
        if self.live or (now - self.shown < SECONDS and self.done < self.total) or self.done == self.start:
            return
        parts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if self.shown:  # the first line's rate would be that of starting up
            rate = (self.done - self.start) / (now - self.began)
            left = tqdm.format_interval(max(self.total - self.done, 0) / rate)
            shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            parts += [f"{shown} {self.unit.split()[0]}/s", f"ETA {left}"]
        self.shown = now
        print("  ".join([*parts, self.text]).rstrip(), flush=True)

    def close(self) -> None:
        self.bar.close()
