"""The plan of a search: the configuration, what varies in it, the budget, the metric. Kept as search.json."""

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import ragdist
from ragdist.config import Config, identity, migrations, settings
from ragdist.config.evaluation import best_by
from ragdist.config.run import flat
from ragdist.metrics import FEATURES, MEASURES
from ragdist.tools.errors import UserError
from tune import halving, space
from tune.options import SearchOptions
from tune.space import Axis

FORMAT, VERSION = "ragdist-search", 1
# What makes results comparable; a search that continues may have other --trials, and other resources.
_SAME = ("seeds", "search", "scheduler", "metric", "samples", "judged_by", "features", "inception_weights")
_KEYS = ("format", "version", "space", "budget_samples", "rungs", *_SAME, "config", *identity.KEYS)
_CHECKPOINTS = 8  # of a trial: what a kill costs at most is an eighth of its budget


@dataclass(frozen=True)
class Plan:
    """The plan of a search. ``config`` is the run's, with the --samples of the training that is to follow."""

    config: Config
    axes: list[Axis]
    options: SearchOptions
    budget: int  # samples of a trial's run
    rungs: list[int]  # samples at which it is judged, the budget last

    def trial_config(self, values: dict[str, Any], seed: int, out: Path, seen: int) -> Config:
        """The configuration of a trial's run up to ``seen``; ``seed`` counts from 0."""
        config = space.varied(self.config, values)
        return space.varied(
            config,
            {
                "seed": self.config.seed + seed,
                "out": str(out),
                "samples": seen,
                "evaluate_every": 0,  # it is judged between its rungs
                "checkpoint.every": max(self.budget // _CHECKPOINTS, 1),
                "checkpoint.keep": 1,
                "monitor.grid_every": self.budget,
            },
        )

    def baselines(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and options of the trials that are always made, and never stopped before their budget."""
        base = flat(self.config)
        own = {axis.name: base[axis.name] for axis in self.axes} | {space.LAM: base[space.LAM]}
        plain = ("lambda 0", own | {space.LAM: 0.0})
        return [plain] if own[space.LAM] == 0 else [("default", own), plain]

    def code(self) -> identity.Code:
        """The code of others that the results depend on."""
        features, measured = self.options.features, best_by(self.options.metric)
        more = {
            "features": FEATURES.provenance(features) if features in FEATURES else "",
            "metric": MEASURES.provenance(measured[0]) if measured else "",
        }
        return identity.code_of(self.config, more)

    def content(self) -> dict[str, Any]:
        """The content of search.json."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "ragdist": ragdist.__version__,
            "space": {axis.name: axis.content() for axis in self.axes},
            "budget_samples": self.budget,
            "rungs": self.rungs,
            **{name: getattr(self.options, name) for name in _SAME},
            "config": flat(self.config),
            **self.code(),
        }


def make(config: Config, options: SearchOptions, axes: list[Axis]) -> Plan:
    """Make the plan from checked options."""
    budget = options.budget_samples or max(config.samples // 3, config.batch_size)
    budget = -(-budget // config.batch_size) * config.batch_size
    rungs = halving.rungs(budget, config.batch_size)
    return Plan(config, axes, options, budget, rungs)


def read(path: Path, resources: dict[str, Any] | None = None) -> Plan:
    """Read a plan, with other values of the options that say what its runs take.

    Raises:
        UserError: the file is damaged.
    """
    saved = _load(path)
    try:
        config = space.varied(Config(), saved["config"])
        config = space.varied(config, resources or {})
        axes = space.parse(saved["space"], config, str(path))
        options = SearchOptions(**{name: saved[name] for name in _SAME}, budget_samples=saved["budget_samples"])
        return Plan(config, axes, options, saved["budget_samples"], saved["rungs"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: restore it, or give --overwrite to start anew") from error


def same(plan: Plan, path: Path) -> None:
    """Refuse to continue another search; one that names no number of logical workers has that of the saved one.

    Raises:
        UserError: naming what differs.
    """
    saved = _load(path)
    if not plan.config.logical_workers:
        plan.config.logical_workers = saved["config"]["logical_workers"]
    mine = json.loads(json.dumps(plan.content()))
    changed = [
        f"{name} {_short(saved.get(name))} -> {_short(mine[name])}"
        for name in ("space", "budget_samples", *_SAME)
        if saved.get(name) != mine[name]
    ]
    fixed = flat(plan.config, free=False)
    changed += [
        f"{name} {saved['config'].get(name)} -> {value}"
        for name, value in fixed.items()
        if saved["config"].get(name) != value
    ]
    changed += identity.differences(mine, saved)
    if saved["config"]["data.path"] != plan.config.data.path:
        changed.append(f"data {saved['config']['data.path']} -> {plan.config.data.path}")
    if changed:
        raise UserError(
            f"{path.parent} holds another search ({'; '.join(changed)}): give the same options to continue it, "
            "another --out, or --overwrite to start anew"
        )


def check_code(plan: Plan, path: Path) -> None:
    """Refuse to make trials here with other packages than those of the search that the file says.

    Raises:
        UserError: naming what differs.
    """
    if changed := identity.differences(plan.code(), _load(path)):
        raise UserError(
            f"{platform.node()} and the search's driver have different packages ({'; '.join(changed)}): install the "
            "same ones on all nodes"
        )


def _load(path: Path) -> dict[str, Any]:
    """A search's file, whichever version wrote it, by today's names."""
    try:
        saved = json.loads(path.read_text())
        if saved["format"] != FORMAT:
            raise ValueError
        migrations.check_format(saved, FORMAT, VERSION, str(path))
        version = saved.pop("ragdist", None)
        saved = migrations.SEARCH.migrated(saved, str(path))
        unknown = [name for name in saved if name not in _KEYS]
        migrations.refuse_unknown(unknown, str(path), version)
        saved["config"] = settings.of_today(saved["config"], str(path), version)
        saved["space"] = space.of_today(saved["space"], str(path))
        saved["config"]["data.path"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: restore it, or give --overwrite to start anew") from error
    return saved


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return str(value)
