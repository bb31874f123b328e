"""Scales of charts: where on an axis a value lies, and the round numbers beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_SPREAD = 8.0  # values of more than so many to one are drawn on a logarithmic axis
_MOST_TICKS = 8


def short(value: float, digits: int = 3) -> str:
    """A number for an axis: 1.2M, 40k, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=3).tick_values(low, high)
    room = (high - low) * 1e-9
    return [float(value) for value in found if low - room <= value <= high + room]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two above zero: 1, 2 and 5 times powers of ten, or evenly spaced where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [tick for tick in (factor * 10.0**p for p in powers for factor in (1, 2, 5)) if low <= tick <= high]
    if len(found) > _MOST_TICKS:
        step = math.ceil(math.log10(high / low) / _MOST_TICKS)
        found = [10.0**power for power in powers if low <= 10.0**power <= high and power % step == 0]
    return found if len(found) >= 3 else [tick for tick in ticks(low, high) if low <= tick <= high]


def cut(text: str, most: int) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass
class Scale:
    """One axis: numbers from low to high, or names. A zero on a logarithmic one has a place of its own, before it."""

    title: str = ""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    zero: bool = False
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, title: str, values: Sequence[Any], *, log: bool | None = None) -> "Scale":
        """An axis for these values; ``log`` None: as suits them."""
        if not values or any(isinstance(value, bool | str) for value in values):
            return cls(title, names=sorted({str(value) for value in values}))
        positive = [value for value in values if value > 0]
        if log is None:
            log = bool(positive) and min(values) >= 0 and max(positive) > _SPREAD * min(positive)
        zero = log and len(positive) < len(values)
        values = positive if log else values
        if not values:
            return cls(title)
        low, high = min(values), max(values)
        if log:
            low, high = low / 1.15, high * 1.15
        else:
            room = (high - low) / 20 or abs(high) / 10 or 0.5
            low, high = low - room, high + room
        return cls(title, low, high, log, zero)

    def share(self, value: Any) -> float:
        """Where a value lies, from 0 to 1."""
        if self.names:
            return (self.names.index(str(value)) + 0.5) / len(self.names)
        start = 0.12 if self.zero else 0.0
        if self.log and value <= 0:
            return 0.03
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return start + (1 - start) * (value - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Shares and their labels, which differ however narrow the range is."""
        if self.names:
            return [(self.share(name), cut(name, 12)) for name in self.names]
        found = (log_ticks if self.log else ticks)(self.low, self.high)
        digits = next((d for d in range(3, 16) if len({short(v, d) for v in found}) == len(found)), 16)
        zero = [(self.share(0), "0")] if self.zero else []
        return zero + [(self.share(value), short(value, digits)) for value in found]
