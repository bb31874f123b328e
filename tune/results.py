"""Results of a search: the best configuration, a table of trials, TensorBoard, a page, and a summary."""

import csv
import io
import shlex
import shutil
from datetime import timedelta

from ragdist.config import settings
from ragdist.storage.files import os_errors_as_user_error, write_whole
from tune import folder, space
from tune.folder import Trial
from tune.ranking import ranked
from tune.state import SearchState
from tune.table import label, number


def write(search: SearchState) -> None:
    """Write all results.

    Raises:
        UserError: the disk refuses.
    """
    from tune import report

    place = search.folder
    with os_errors_as_user_error(f"cannot write to {place.path} (the trials are kept)"):
        write_whole(place.csv, table(search))
        if best := ranked(search)[:1]:
            write_whole(place.best, best_yaml(search, best[0]))
        _board(search)
        write_whole(place.report, report.build(search))


def table(search: SearchState) -> str:
    """All trials as CSV: a line each, with every seed's metric at every rung."""
    metric, seeds = search.plan.options.metric, range(search.plan.options.seeds)
    names = list(dict.fromkeys(name for trial in search.trials.values() for name in trial.options))
    places = [(seen, seed) for seen in search.plan.rungs for seed in seeds]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [f"{metric}_{seen}_seed{seed}" for seen, seed in places]
    writer.writerow(["trial", "name", *names, "state", "reason", "samples", metric, "seconds", *columns])
    for _, trial in sorted(search.trials.items()):
        values = [rung.values[seed] if (rung := trial.at(seen)) else "" for seen, seed in places]
        options = [trial.options.get(name, "") for name in names]
        seconds = round(sum(rung.seconds for rung in trial.rungs), 3)
        value = "" if trial.value is None else trial.value
        writer.writerow(
            [trial.number, trial.name, *options, trial.state, trial.reason, trial.seen, value, seconds, *values]
        )
    return out.getvalue()


def best_yaml(search: SearchState, best: Trial) -> str:
    """The configuration of a trial for `python -m ragdist.train --config`."""
    plan = search.plan
    config = space.varied(plan.config, {**best.options, "out": "", "workers": "auto"})
    return (
        f"# Trial {best.number} of the search in {search.folder.path}: {plan.options.metric} {best.value:.6g} after "
        f"{plan.budget:,} {search.units}.\n{settings.dumps(config)}"
    )


def _board(search: SearchState) -> None:
    """Write TensorBoard events: a run for each trial, its options as hyperparameters, its metric over samples."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    shutil.rmtree(search.folder.board, ignore_errors=True)
    tag = f"search/{search.plan.options.metric}"
    for trial in search.trials.values():
        with SummaryWriter(str(search.folder.board / f"{trial.number:04d}")) as board:
            for summary in hparams({**trial.options, "state": trial.state}, {tag: None}):
                board.file_writer.add_summary(summary, 0)
            for rung in trial.rungs:
                board.add_scalar(tag, rung.value, rung.samples)


def summary(search: SearchState, seconds: float) -> list[str]:
    """The outcome for a terminal."""
    plan, place = search.plan, search.folder
    states = [trial.state for trial in search.trials.values()]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    lines = [f"{len(states)} trials in {timedelta(seconds=round(seconds))}: {', '.join(counts)}"]
    if there := crashed(search):
        which = f"trial {there[0].number}" if len(there) == 1 else f"{len(there)} trials, the first {there[0].number}"
        lines.append(f"crashed:     {which}: {there[0].reason}. The same command tries again")
    best = ranked(search)
    if not best:
        return [*lines, f"no trial got to the end of its budget; see {place.csv}"]
    metric, seeds = plan.options.metric, plan.options.seeds
    more = "more" if search.sign > 0 else "less"
    of = f"median of {seeds} seeds" if seeds > 1 else "one seed: differences may be chance, --seeds 3 says more"
    lines += [f"{metric} after {plan.budget:,} {search.units} ({more} is better; {of}):"]
    shown = [("best", best[0]), *((name, _named(search, name)) for name, _ in search.baselines)]
    for name, trial in shown:
        lines.append(f"  {name:<9} {_outcome(trial)}")
    lines += [
        f"report:      {place.report}",
        f"all trials:  {place.csv}, tensorboard --logdir {shlex.quote(str(place.board))}",
        f"train on it: python -m ragdist.train --config {shlex.quote(str(place.best))} --out runs/best",
    ]
    return lines


def crashed(search: SearchState) -> list[Trial]:
    """The trials whose processes died or failed, which says nothing of their options."""
    return sorted((t for t in search.trials.values() if t.state == folder.CRASHED), key=lambda trial: trial.number)


def _named(search: SearchState, name: str) -> Trial:
    return next(trial for trial in search.trials.values() if trial.name == name)


def _outcome(trial: Trial) -> str:
    options = "  ".join(f"{label(name)} {number(value)}" for name, value in trial.options.items())
    if trial.state != folder.FINISHED:
        return f"{trial.state}: {trial.reason}  ({options})"
    rung = trial.rungs[-1]
    spread = f" ({number(min(rung.values))} to {number(max(rung.values))})" if len(rung.values) > 1 else ""
    return f"{number(rung.value)}{spread}  trial {trial.number}: {options}"
