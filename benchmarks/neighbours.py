"""Time and peak memory of the neighbour measures: ``python -m benchmarks.neighbours``.

All of precision, recall, density, coverage, distances and authenticity of 10,000 samples against 10,000 reals
with Inception's 2,048 features. Three passes of blocks: within the reals (kept in the cache by `ragdist.evaluate`),
within the fakes, and between them.
"""

import time

import torch

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from ragdist.metrics import density_coverage, memorization, precision_recall
from ragdist.metrics.neighbours import crossing, nearest_others
from ragdist.tools.machine import peak_memory


def main() -> None:
    parser = command_line.parser("neighbours", __doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--reals", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2_048)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    # As Inception's: not negative, with a mean, a few directions that matter and many that hardly do.
    scale = torch.arange(1, options.features + 1) ** -0.5
    fakes, reals = (
        (torch.randn(n, options.features, generator=generator) * scale + 0.4).clamp(min=0)
        for n in (options.samples, options.reals)
    )
    reals[: len(fakes) // 100] = fakes[: len(fakes) // 100][: len(reals)]  # some copies
    before, rows = peak_memory(), []

    def timed(name: str, work):
        start, cpu = time.perf_counter(), time.process_time()
        result = work()
        rows.append([name, f"{time.perf_counter() - start:.1f}", f"{time.process_time() - cpu:.1f}"])
        return result

    start, cpu = time.perf_counter(), time.process_time()
    spacing = timed("within the reals", lambda: nearest_others(reals, 5).distance)
    radii = timed("within the fakes", lambda: nearest_others(fakes, 3).distance[:, -1])
    found = timed("between them", lambda: crossing(fakes, reals, (spacing[:, 2], spacing[:, 4]), (radii,)))
    rows.append(["all", f"{time.perf_counter() - start:.1f}", f"{time.process_time() - cpu:.1f}"])
    print(f"{machine()}; {len(fakes):,} samples, {len(reals):,} reals, {options.features:,} features\n")
    print(table(["pass", "seconds", "CPU seconds"], rows))
    print(f"\npeak memory {peak_memory() / 1e6:,.0f} MB, {before / 1e6:,.0f} MB of them before the passes")
    pair = density_coverage.from_crossing(found, spacing[:, 4], real=1)
    print(precision_recall.from_crossing(found), pair, f"copies {memorization.copies(found.to_real):.2%}")


if __name__ == "__main__":
    main()
