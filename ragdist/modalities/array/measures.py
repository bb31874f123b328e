"""Measures of trajectories: their shapes, the obstacles that they cross, the routes that they find."""

from collections.abc import Callable

import numpy as np

from ragdist.config.evaluation import METRICS
from ragdist.metrics.measure import Figure, Material, Measure, Neighbours, Result
from ragdist.modalities.array import paths, shapes
from ragdist.modalities.array.picture import is_path

# What is compared of trajectories [n, 2 or 3, T]: the figure's name, its title, numbers or points.
SHAPES: tuple[tuple[str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("js_step", "JS divergence of step lengths, bits", lambda x: shapes.steps(x).ravel()),
    ("js_turn", "JS divergence of turns, bits", lambda x: shapes.turns(x).ravel()),
    ("js_length", "JS divergence of total lengths, bits", lambda x: shapes.steps(x).sum(1)),
    ("js_radius", "JS divergence of radii of gyration, bits", shapes.radii),
    ("js_ends", "JS divergence of end points, bits", lambda x: x[:, :, -1].astype(np.float64)),
)


def _trajectories(material: Material, found: Neighbours, result: Result) -> None:
    if not is_path(material.form) or material.form.shape[1] < 3:
        return
    fakes, reals = material.fake_samples.numpy(), material.real_samples.numpy()
    half = len(reals) // 2  # stands in for perfect samples, against the other half
    count = min(len(fakes), half)
    of = f"{count:,} + {half:,} {material.units}"
    for name, title, values in SHAPES:
        all_reals = values(reals)
        first, second = values(reals[:half]), values(reals[half : 2 * half])
        value = shapes.histogram_divergence(values(fakes[:count]), first, all_reals)
        ideal = shapes.histogram_divergence(second[: len(second) * count // half], first, all_reals)
        result.figures.append(Figure(name, title, value, None, f"{ideal:.2g}", of))


def _crossings(material: Material, found: Neighbours, result: Result) -> None:
    obstacles = material.form.spec.get("obstacles", [])
    if not _plane(material) or not obstacles:
        return
    fakes, reals = (paths.crossing(x.numpy(), obstacles) for x in (material.fake_samples, material.real_samples))
    title, ideal = f"{material.units} that cross an obstacle", f"{reals.mean():.2g}"
    result.figures.append(Figure("crossings", title, float(fakes.mean()), None, ideal, f"{len(fakes):,}"))


def _routes(material: Material, found: Neighbours, result: Result) -> None:
    spec = material.form.spec
    if not _plane(material) or not spec.get("routes"):
        return
    how = spec["routes"], spec["tolerance"], spec.get("obstacles", [])
    count = min(len(material.fake_samples), len(material.real_samples))
    fakes, reals = (
        counted(paths.taken(x[:count].numpy(), *how), len(how[0]))
        for x in (material.fake_samples, material.real_samples)
    )
    of = f"{count:,} + {count:,} {material.units}, {len(how[0])} routes"
    for name, title, value, ideal in (
        ("routes", "routes that are found", (fakes > 0).mean(), f"{(reals > 0).mean():.3g}"),
        ("no_route", f"{material.units} on no route", 1 - fakes.sum() / count, f"{1 - reals.sum() / count:.2g}"),
        ("js_routes", "JS divergence of routes, bits", shapes.js_divergence(fakes, reals), "less"),
    ):
        result.figures.append(Figure(name, title, float(value), None, ideal, of))


def counted(routes: np.ndarray, count: int) -> np.ndarray:
    """How many paths take each of so many routes, [count]; those on no route are left out."""
    return np.bincount(routes[routes != paths.NO_ROUTE], minlength=count)


def _plane(material: Material) -> bool:
    return is_path(material.form) and material.form.shape[0] == 2


TRAJECTORIES = Measure(_trajectories, METRICS["trajectories"][0], of_samples=True)
CROSSINGS = Measure(_crossings, METRICS["crossings"][0], of_samples=True)
ROUTES = Measure(_routes, METRICS["routes"][0], of_samples=True)
