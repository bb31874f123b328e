"""The report of a search: one page, with all pictures inside."""

import html
from typing import Any

import torch

from ragdist import modalities
from ragdist.evaluation.report.page import STYLE, legend, section
from ragdist.generation import generator_file, sampling
from ragdist.runs.folder import RunFolder
from ragdist.tools import charts
from ragdist.tools.charts import FAINT, Point
from ragdist.tools.scales import Scale
from tune import folder, ranking
from tune.folder import Trial
from tune.importance import importance
from tune.state import SearchState
from tune.table import label, number

_GRID = 40
OTHERS, BEST, *BASELINES = charts.COLOURS
_LOG = ("loguniform",)
_DRAWN = "Filled: the whole budget; hollow: stopped before, so not to be compared with filled ones."


def build(search: SearchState) -> str:
    """The page as HTML."""
    title = html.escape(f"Search in {search.folder.path}")
    page = _Page(search)
    parts = [
        f"<h1>{title}</h1>",
        page.protocol(),
        page.outcome(),
        page.over_options(),
        page.parallel(),
        page.importance(),
        page.curves(),
        page.samples(),
        page.trials(),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    content = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>\n{content}\n</body></html>\n'
    )


class _Page:
    """The parts of the page."""

    def __init__(self, search: SearchState):
        self.search, self.plan, self.units = search, search.plan, search.units
        self.metric = search.plan.options.metric
        self.all = sorted(search.trials.values(), key=lambda trial: trial.number)
        self.evaluated = [trial for trial in self.all if trial.rungs]
        self.ranked = ranking.ranked(search)
        self.kinds = {axis.name: axis.kind for axis in self.plan.axes}
        self.names = list(dict.fromkeys(name for trial in self.all for name in trial.options))
        self.values = Scale.of(self.metric, [value for trial in self.evaluated for value in trial.rungs[-1].values])

    def protocol(self) -> str:
        options, plan = self.plan.options, self.plan
        more = "More" if self.search.sign > 0 else "Less"
        lines = [
            f"{len(self.all)} trials of {plan.budget:,} {self.units}, on {options.seeds} seed(s) each; "
            f"search {options.search}, scheduler {options.scheduler}; judged after "
            f"{', '.join(f'{seen:,}' for seen in plan.rungs)} {self.units}.",
            f"Metric: {self.metric} of {options.samples:,} samples of the moving average, features {options.features}, "
            f"by {options.judged_by or plan.config.data.path}. {more} is better.",
            *(f"{axis.name}: {axis.text()}" for axis in plan.axes),
        ]
        return f"<pre>{html.escape(chr(10).join(lines))}</pre>"

    def outcome(self) -> str:
        if not self.ranked:
            return "<p>No trial got to the end of its budget.</p>"
        best = self.ranked[0]
        rows = [("best", best), *((t.name, t) for t in self.all if t.name)]
        head = ["", self.metric, "seeds", *map(label, self.names), "trial"]
        body = [
            [
                name,
                self._value(trial),
                "  ".join(map(number, sorted(trial.rungs[-1].values))) if trial.rungs else trial.reason,
                *(number(trial.options.get(option, "")) for option in self.names),
                str(trial.number),
            ]
            for name, trial in rows
        ]
        return section("Outcome", _table(head, body), self._sureness(best))

    def _sureness(self, best: Trial) -> str:
        seeds = self.plan.options.seeds
        if seeds == 1:
            return (
                "Each configuration was trained on one seed: a part of each difference is chance, and the best of many "
                "is flattered by it. --seeds 3 or more tells how large that part is."
            )
        words = []
        for trial in self.all:
            if not trial.name or trial is best or trial.state != folder.FINISHED:
                continue
            mine, theirs = best.rungs[-1].values, trial.rungs[-1].values
            sign = self.search.sign
            apart = min(sign * value for value in mine) > max(sign * value for value in theirs)
            words.append(
                f"Every seed of the best is better than every seed of {trial.name}."
                if apart
                else f"Seeds of the best and of {trial.name} overlap: which is better is not settled."
            )
        return " ".join(words)

    def over_options(self) -> str:
        parts = []
        levels = [(trial.value, colour, f"{trial.name}: {number(trial.value)}") for trial, colour in self._baselines()]
        for name in self.names:
            there = [trial for trial in self.evaluated if name in trial.options]
            scale = Scale.of(label(name), [t.options[name] for t in there], log=self._log(name))
            points = []
            for trial in sorted(there, key=lambda trial: trial is self._best()):  # on top of the others
                stopped = trial.state != folder.FINISHED
                colour, title, x = self._colour(trial), self._title(trial), trial.options[name]
                values = trial.rungs[-1].values
                if len(values) > 1:
                    points += [Point(x, value, FAINT, title, 1.8) for value in values]
                points.append(Point(x, trial.value, colour, title, 5.0, hollow=stopped))
            parts.append(f"<div>{charts.scatter(points, scale, self.values, levels)}</div>")
        seeds = " Small points are seeds, large ones their median." if self.plan.options.seeds > 1 else ""
        side = f'<div class="side">{"".join(parts)}</div>{self._legend()}'
        return section(f"{self.metric} over the options", side, f"{_DRAWN}{seeds}")

    def parallel(self) -> str:
        if not self.evaluated:
            return ""
        there = [trial for trial in self.evaluated if all(name in trial.options for name in self.names)]
        scales = [
            Scale.of(label(name), [trial.options[name] for trial in there], log=self._log(name)) for name in self.names
        ]
        scales.append(Scale.of(self.metric, [trial.value for trial in there]))
        finished = [trial for trial in there if trial.state == folder.FINISHED]
        order = [trial for trial in there if trial not in finished] + finished[::-1]
        order.sort(key=lambda trial: (trial.state == folder.FINISHED, trial is self._best()))
        rows = [
            (
                [*(trial.options[name] for name in self.names), trial.value],
                self._colour(trial) if trial in finished else FAINT,
                2.6 if trial is self._best() else 1.6 if trial in finished else 0.8,
                self._title(trial),
            )
            for trial in order
        ]
        text = "A line is a trial. Thin grey ones were stopped before the budget's end."
        return section("Parallel coordinates", charts.parallel(scales, rows) + self._legend(), text)

    def importance(self) -> str:
        shares, seen, count = importance(self.plan.axes, self.all, self.plan.rungs, self.search.sign)
        if not shares:
            return ""
        chart = charts.bars(
            [label(name) for name in shares], {"share of the variance": list(shares.values())}, "importance"
        )
        text = (
            f"fANOVA of the metric after {seen:,} {self.units}, over {count} trials within the ranges. With few trials "
            "it is a hint: it cannot tell an option's effect from chance."
        )
        return section("Importance", chart, text)

    def curves(self) -> str:
        if not self.evaluated:
            return ""
        x = Scale.of(self.units, [0, self.plan.budget], log=False)
        y = Scale.of(self.metric, [rung.value for trial in self.evaluated for rung in trial.rungs])
        lines = [
            (
                [(rung.samples, rung.value) for rung in trial.rungs],
                self._colour(trial),
                2.4 if trial is self._best() else 1.2,
                self._title(trial),
            )
            for trial in sorted(self.evaluated, key=lambda trial: trial is self._best())
        ]
        return section("Learning curves", charts.curves(lines, x, y) + self._legend())

    def samples(self) -> str:
        if not self.ranked:
            return ""
        chosen = {"best": self.ranked[0], "median": self.ranked[len(self.ranked) // 2], "worst": self.ranked[-1]}
        chosen |= {trial.name: trial for trial in self.ranked if trial.name}
        parts, shown = [], set()
        for trial in chosen.values():
            file = RunFolder(self.search.folder.run(trial.number, 0)).generator
            if trial.number in shown or not file.is_file():
                continue
            shown.add(trial.number)
            exported = generator_file.load(file, torch.device("cpu"))
            samples, kind = torch.cat(list(sampling.sample(exported.generator, 0, _GRID))), exported.about["codec"]
            stored = modalities.training(kind).from_network(samples, exported.form)
            shown_samples = modalities.judging(kind).html(stored, exported.form, modalities.beside(kind, 10))
            words = ", ".join(name for name, other in chosen.items() if other is trial)
            caption = html.escape(f"{words}: trial {trial.number}, {self._value(trial)}")
            parts.append(f"<div>{shown_samples}<p class='small'>{caption}</p></div>")
        text = "Samples of the first seed, of trials that got the whole budget."
        return section("Samples", f'<div class="side">{"".join(parts)}</div>', text)

    def trials(self) -> str:
        head = ["trial", *map(label, self.names), self.units, self.metric, "state"]
        body = [
            [
                str(trial.number),
                *(number(trial.options.get(name, "")) for name in self.names),
                f"{trial.seen:,}",
                self._value(trial),
                ": ".join(filter(None, (f"{trial.state} {trial.name}".strip(), trial.reason))),
            ]
            for trial in self.all
        ]
        return section("All trials", _table(head, body))

    def _best(self) -> Trial | None:
        return self.ranked[0] if self.ranked else None

    def _baselines(self) -> list[tuple[Trial, str]]:
        there = [trial for trial in self.all if trial.name]
        return [(t, colour) for t, colour in zip(there, BASELINES, strict=False) if t.state == folder.FINISHED]

    def _colour(self, trial: Trial) -> str:
        own = next((colour for other, colour in self._baselines() if other is trial), OTHERS)
        return BEST if trial is self._best() else own

    def _legend(self) -> str:
        items = [(BEST, "best")] if self.ranked else []
        items += [(c, f"{t.name} (is the best)" if t is self._best() else t.name) for t, c in self._baselines()]
        return legend([*items, (OTHERS, "others")])

    def _log(self, name: str) -> bool | None:
        return True if self.kinds.get(name) in _LOG else None

    def _value(self, trial: Trial) -> str:
        return "" if trial.value is None else number(trial.value)

    def _title(self, trial: Trial) -> str:
        options = ", ".join(f"{label(name)} {number(value)}" for name, value in trial.options.items())
        return f"trial {trial.number}: {self.metric} {self._value(trial)} after {trial.seen:,} {self.units}; {options}"


def _table(head: list[str], body: list[list[Any]]) -> str:
    rows = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    rows += [
        "".join(f'<td class="n">{html.escape(cell)}</td>' for cell in row[:-1]) + f"<td>{html.escape(row[-1])}</td>"
        for row in body
    ]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
