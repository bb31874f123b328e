"""What the benchmarks share: paired rounds, medians and spreads, a table, a chart, the machine they ran on."""

import html
import platform
import statistics
import time
from collections.abc import Callable

import torch


def machine(device: torch.device | None = None) -> str:
    """The processor, or the GPU, and versions, in a line."""
    if device is not None and device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, Python {platform.python_version()}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def paired(
    works: dict[str, Callable[[], object]], rounds: int, say: Callable[[str], object] = lambda text: None
) -> dict[str, list[float]]:
    """Seconds of each work in each round, run in turn so that a drift of the machine meets them all.

    A first round warms up and is not counted. ``say`` is told of each measurement.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(rounds + 1):
        for name, work in works.items():
            took = seconds(work)
            say(f"round {round_number} of {rounds}: {name} {took:.2f} s")
            if round_number:
                found[name].append(took)
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """``median (least to most)``."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def bars(values: dict[str, list[float]], title: str) -> str:
    """An SVG with a bar for each name, as long as the median of its values, and a line from the least to the most."""
    row, left, width, top = 24, 330, 820, 34
    scale = (width - left - 70) / max(map(max, values.values()))
    parts = [f'<text x="{left}" y="20" font-weight="bold">{html.escape(title)}</text>']
    for number, (name, some) in enumerate(values.items()):
        y, middle = top + row * number, statistics.median(some)
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>',
            f'<rect x="{left}" y="{y + 2}" width="{middle * scale:.1f}" height="{row - 8}" fill="#4c78a8"/>',
            f'<path d="M{left + min(some) * scale:.1f} {y + 10}H{left + max(some) * scale:.1f}" stroke="#111"/>',
            f'<text x="{left + max(some) * scale + 6:.1f}" y="{y + 14}">{middle:,.4g}</text>',
        ]
    height = top + row * len(values) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
