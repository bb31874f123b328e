"""A comparison of runs: rows of those that differ in nothing but the seed, with medians of their figures."""

import math
import shlex
import statistics
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ragdist.config.evaluation import figures_to_rank_by
from ragdist.evaluation.compare_runs import Run, choose_evaluations, runs_at
from ragdist.tools.errors import UserError, nearest
from ragdist.tools.words import counted

ALL = "all"
_FIRST = 5  # figures of a terminal's table
# Figures that come first, of whatever samples; then those by which runs are ranked.
_USUAL = ("frechet_distance", "js_4", "reverse_lm_score", "precision", "recall", "coverage", "memorization_ratio")


class Spread(NamedTuple):
    """A figure over seeds."""

    median: float
    least: float
    most: float
    count: int


@dataclass
class Row:
    """Runs that differ in nothing but the seed, judged by one protocol."""

    options: dict[str, Any]  # that differ among the rows
    protocol: str  # a letter; empty: not judged
    runs: list[Run]
    figures: dict[str, Spread] = field(default_factory=dict)
    best: set[str] = field(default_factory=set)  # figures in which it is, among the rows of its protocol

    @property
    def name(self) -> str:
        """The options that differ, in words; the run where there are none."""
        return ", ".join(f"{name} {value}" for name, value in self.options.items()) or self.runs[0].where


@dataclass
class Comparison:
    """Rows, protocols, and the runs that were not judged."""

    rows: list[Row]
    differing: list[str]  # names of options
    protocols: dict[str, tuple[str, dict[str, Any]]]  # letter -> key and protocol (of evaluations on the way in words)
    shown: list[str]  # figures of a terminal's table
    figures: list[str]  # all
    ideals: dict[str, str]
    titles: dict[str, str]
    notes: list[str]

    def content(self) -> dict[str, Any]:
        """The comparison as JSON takes it."""
        return {
            "options": self.differing,
            "protocols": {letter: {"key": key, **about} for letter, (key, about) in self.protocols.items()},
            "rows": [
                {
                    "options": row.options,
                    "protocol": row.protocol or None,
                    "runs": [
                        {"where": run.where, "seed": run.seed, "seen": run.evaluation and run.evaluation.seen,
                         "figures": run.evaluation and run.evaluation.figures}
                        for run in row.runs
                    ],
                    "figures": {name: spread._asdict() for name, spread in row.figures.items()},
                    "best": sorted(row.best),
                }
                for row in self.rows
            ],
            "notes": self.notes,
        }  # fmt: skip


def compare(wheres: list[str], figures: str = "") -> Comparison:
    """Compare runs at paths and URLs.

    Args:
        wheres: runs, or folders of runs.
        figures: names for the terminal's table, separated by commas; "all"; empty: the usual ones.

    Raises:
        UserError: there is no run, one is damaged, or no run has such a figure.
    """
    runs = list(runs_at(wheres))
    choose_evaluations(runs)
    differing = _differing(runs)
    letters: dict[str, str] = {}
    for run in runs:
        if run.evaluation:
            letters.setdefault(run.evaluation.protocol, _letter(len(letters)))
    rows = _rows(runs, differing, letters)
    ideals, titles = _ideals(runs)
    names = _ordered({name for row in rows for name in row.figures})
    _mark_best(rows, ideals)
    abouts = {letter: (key, _about(runs, key)) for key, letter in letters.items()}
    return Comparison(rows, differing, abouts, _shown(names, figures), names, ideals, titles, _notes(runs))


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"A{number}"


def _about(runs: list[Run], key: str) -> dict[str, Any]:
    judged = [run.evaluation for run in runs if run.evaluation and run.evaluation.protocol == key]
    return max((one.about for one in judged), key=len)  # of the command's there is more known


def _differing(runs: list[Run]) -> list[str]:
    """Options that are not equal in all runs, in the order of the configuration."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    return [name for name in names if len({repr(run.options.get(name)) for run in runs}) > 1]


def _rows(runs: list[Run], differing: list[str], letters: dict[str, str]) -> list[Row]:
    rows: dict[tuple[str, ...], Row] = {}
    for run in runs:
        options = {name: run.options.get(name) for name in differing}
        letter = letters[run.evaluation.protocol] if run.evaluation else ""
        key = (*map(repr, options.values()), letter)
        rows.setdefault(key, Row(options, letter, [])).runs.append(run)
    for row in rows.values():
        row.runs.sort(key=lambda run: run.seed)
        for name in dict.fromkeys(name for run in row.runs if run.evaluation for name in run.evaluation.figures):
            values = [run.evaluation.figures.get(name) for run in row.runs]
            values = [value for value in values if value is not None and math.isfinite(value)]
            if values:
                row.figures[name] = Spread(statistics.median(values), min(values), max(values), len(values))
    return list(rows.values())


def _ideals(runs: list[Run]) -> tuple[dict[str, str], dict[str, str]]:
    """What each figure should be, and its title."""
    ideals = {name: better for name, (_, better) in figures_to_rank_by().items()}
    titles: dict[str, str] = {}
    for run in runs:
        if run.evaluation:
            ideals |= {name: ideal for name, ideal in run.evaluation.ideals.items() if ideal}
            titles |= run.evaluation.titles
    return ideals, titles


def _ordered(names: set[str]) -> list[str]:
    ranked = [*_USUAL, *figures_to_rank_by()]
    first = [name for name in dict.fromkeys(ranked) if name in names]
    return [*first, *sorted(names - set(first))]


def _shown(names: list[str], figures: str) -> list[str]:
    """The figures of a terminal's table. Raises UserError for one that no run has."""
    if figures == ALL:
        return names
    wanted = [name.strip() for name in figures.split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            raise UserError(f"--figures {figures}: no run has the figure '{name}'{nearest(name, names)}")
    return wanted or names[:_FIRST]


def distance_to_ideal(value: float, ideal: str) -> float | None:
    """How far a figure is from what it should be: the less the better; None where nothing is better."""
    if ideal in ("less", "more"):
        return value if ideal == "less" else -value
    try:
        return abs(value - float(ideal))
    except ValueError:
        return None


def _mark_best(rows: list[Row], ideals: dict[str, str]) -> None:
    """Mark the best median of each figure, among the rows of a protocol, where they differ."""
    for letter in {row.protocol for row in rows if row.protocol}:
        alike = [row for row in rows if row.protocol == letter]
        for name in {name for row in alike for name in row.figures}:
            found = [(distance_to_ideal(row.figures[name].median, ideals.get(name, "")), row)
                     for row in alike if name in row.figures]  # fmt: skip
            if len(found) < 2 or found[0][0] is None:
                continue
            least, most = min(distance for distance, _ in found), max(distance for distance, _ in found)
            for distance, row in found if least < most else ():
                if distance == least:
                    row.best.add(name)


def _notes(runs: list[Run]) -> list[str]:
    """What a reader has to know: runs without an evaluation, and evaluations that are older than their run."""
    missing = [run for run in runs if run.evaluation is None]
    notes = [f"{run.where} has no evaluation: python -m ragdist.evaluate {shlex.quote(run.where)}" for run in missing]
    for run in runs:
        if run.evaluation and run.evaluation.seen < (last := run.summary.get("samples", 0)):
            notes.append(
                f"{run.where} was judged after {run.evaluation.seen:,} of {last:,} samples seen: "
                f"python -m ragdist.evaluate {shlex.quote(run.where)}"
            )
    unfinished = [run.where for run in runs if not run.summary]
    if unfinished:
        notes.append(f"{counted(len(unfinished), 'run')} not finished: {', '.join(unfinished)}")
    if len({run.evaluation.protocol for run in runs if run.evaluation}) > 1:
        notes.append("figures of different protocols do not compare: the best is marked among those of one")
    return notes
