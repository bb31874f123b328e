"""The page: a table and a plot for each study, from the results alone."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.claims import plots
from benchmarks.claims.plan import LOSSES, STUDIES, VARIANTS, Cell, Study
from benchmarks.measure import table
from ragdist.storage.files import write_whole

Found = dict[Cell, dict[str, Any]]

# What a task's table shows: the figure's name, its column, digits.
COLUMNS = {
    "toy": [("modes", "modes", 0), ("high_quality", "high quality", 3), ("kl", "KL", 3)],
    "stacked": [("modes", "modes of 1,000", 0), ("kl", "KL", 3)],
    "scarce": [
        ("frechet", "Fréchet distance", 2), ("precision", "precision", 3), ("recall", "recall", 3),
        ("coverage", "coverage", 3), ("memorization", "memorization ratio", 2),
    ],
    "text": [
        ("js_3", "JS-3", 3), ("js_4", "JS-4", 3), ("known_words", "known words", 2),
        ("unique_lines", "unique", 3), ("lm_score", "LM score", 2), ("reverse_lm_score", "reverse LM score", 2),
    ],
    "routes": [
        ("routes", "routes found", 3), ("js", "JS of routes", 3), ("crossings", "crossings", 3),
        ("precision", "precision", 3), ("recall", "recall", 3), ("coverage", "coverage", 3),
    ],
}  # fmt: skip
MAIN = {
    "toy": "kl",
    "stacked": "kl",
    "scarce": "frechet",
    "text": "js_4",
    "routes": "js",
}  # what the spread over time and the plots are of


def kind(study: Study) -> str:
    """The kind of a study, which decides the table's columns."""
    return dict.fromkeys(("digits", "photographs", "speech"), "scarce").get(study.task, study.task.partition(":")[0])


def brief(row: dict[str, Any]) -> str:
    """A result in a few words."""
    if not row["looks"]:
        return row["problem"]
    last = {name: value for name, value in row["looks"][-1].items() if name != "updates"}
    return ", ".join(f"{name} {value:.3g}" for name, value in list(last.items())[:3])


def ends_well(study: Study, row: dict[str, Any]) -> bool:
    """Whether a training on stacked digits has nine tenths of the modes and a divergence below 1/2 at its end."""
    if row["problem"] or not row["looks"]:
        return False
    return row["looks"][-1]["modes"] >= 900 and row["looks"][-1]["kl"] < 0.5


def study_table(study: Study, found: Found) -> str:
    """Rows of losses and variants; median, least and most over the seeds."""
    columns = COLUMNS[kind(study)]
    head = [
        "loss",
        "relative term",
        "seeds",
        *(title for _, title, _ in columns),
        f"{MAIN[kind(study)]} over time",
    ]
    rows = []
    for (loss, variant), group in groups(study, found).items():
        ended = [row for row in group if row["looks"] and not row["problem"]]
        cells = [over_seeds([row["looks"][-1][name] for row in ended], digits) for name, _, digits in columns]
        name = MAIN[kind(study)]
        times = [max(look[name] for look in row["looks"]) - min(look[name] for look in row["looks"]) for row in ended]
        lost = len(group) - len(ended)
        rows.append(
            [loss, variant, f"{len(group)}{f', {lost} diverged' if lost else ''}", *cells, over_seeds(times, 3)]
        )
    return table(head, rows)


def by_rate(study: Study, stacked: Study, found: Found) -> dict[tuple[str, str], dict[float, list[dict[str, Any]]]]:
    """Results by (loss, variant) and learning rate; those of the rate 1 are in the study of all variants."""
    rates = sorted({*study.rates, 1.0})
    return {
        (loss, variant): {
            rate: [
                row for cell, row in found.items()
                if (cell.study, cell.loss, cell.variant, cell.rate)
                == (stacked.name if rate == 1.0 else study.name, loss, variant, rate)
            ]
            for rate in rates
        }
        for loss, variant in study.cells
    }  # fmt: skip


def rates_table(study: Study, stacked: Study, found: Found) -> str:
    """The share of trainings that end well, by learning rate, and their median divergence."""
    rows, rates = [], []
    for (loss, variant), curve in by_rate(study, stacked, found).items():
        cells, rates = [], list(curve)
        for group in curve.values():
            well = [row for row in group if ends_well(study, row)]
            kls = _last(group, "kl")
            cells.append(f"{len(well)} of {len(group)}; {statistics.median(kls):.2f}" if kls else f"0 of {len(group)}")
        rows.append([loss, variant, *cells])
    return table(["loss", "relative term", *(f"rates × {rate:g}" for rate in rates)], rows)


def _last(group: list[dict[str, Any]], figure: str) -> list[float]:
    return [row["looks"][-1][figure] for row in group if row["looks"]]


def groups(study: Study, found: Found) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Results by (loss, variant), in the plan's order, the seeds in theirs."""
    found_here = {cell: row for cell, row in found.items() if cell.study == study.name}
    named = {
        (loss, variant): [
            found_here[cell] for cell in sorted(found_here, key=lambda cell: cell.seed)
            if (cell.loss, cell.variant) == (loss, variant)
        ]
        for loss in LOSSES
        for variant in VARIANTS
    }  # fmt: skip
    return {name: rows for name, rows in named.items() if rows}


def over_seeds(values: list[float], digits: int) -> str:
    """``median (least to most)``."""
    if not values:
        return "–"
    low, middle, high = (f"{v:,.{digits}f}" for v in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def write(path: Path, found: Found) -> None:
    """Replace what lies between the page's markers by the tables, and write its plots beside it.

    A marker is a line ``<!-- claims: NAME -->``, where NAME is a study; the part goes to ``<!-- end -->``.
    """
    images = path.parent / "images"
    images.mkdir(exist_ok=True)
    text = (
        path.read_text() if path.is_file() else "".join(f"<!-- claims: {name} -->\n<!-- end -->\n" for name in STUDIES)
    )
    for study in STUDIES.values():
        marker = f"<!-- claims: {study.name} -->"
        if marker not in text or not any(cell.study == study.name for cell in found):
            continue
        before, _, rest = text.partition(marker)
        _, _, after = rest.partition("<!-- end -->")
        if study.name == "rates":
            curves = by_rate(study, STUDIES["stacked"], found)
            kls = {name: {r: _last(group, "kl") for r, group in curve.items()} for name, curve in curves.items()}
            write_whole(images / "claims-rates.svg", plots.over_rates(kls, "stacked: KL"))
            body = (
                rates_table(study, STUDIES["stacked"], found) + "\n\n![KL over learning rates](images/claims-rates.svg)"
            )
        else:
            body = study_table(study, found)
            name = f"claims-{study.name.replace(', ', '-').replace('%', '')}.svg"
            figure = MAIN[kind(study)]
            title = next(title for key, title, _ in COLUMNS[kind(study)] if key == figure)
            write_whole(images / name, plots.dots(groups(study, found), figure, f"{study.name}: {title}"))
            body += f"\n\n![{study.name}](images/{name})"
            points = {names: rows[0]["points"] for names, rows in groups(study, found).items() if rows[0].get("points")}
            if points:
                write_whole(images / f"claims-{study.name}-samples.svg", plots.planes(points))
                body += f"\n\n![samples of the {study.name}](images/claims-{study.name}-samples.svg)"
        text = f"{before}{marker}\n{body}\n<!-- end -->{after}"
    write_whole(path, text)
