"""What a comparison reads of a run: its options, its evaluations, what is known of its training."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragdist.config import Config, migrations, settings
from ragdist.config.run import flat
from ragdist.evaluation.report import history
from ragdist.evaluation.steps import FORMAT, VERSION
from ragdist.runs.folder import RunFolder
from ragdist.runs.local_copy import local_copy
from ragdist.storage.store import scheme
from ragdist.tools.errors import UserError

FILES = ("config.yaml", "evaluation.json", "evaluations.jsonl", "summary.json")
# Free options, which a run may be continued with, that say what it was trained on, and for how long.
_ALSO = ("data.path", "samples", "plugin")
SEED = "seed"


@dataclass
class EvaluationRecord:
    """One evaluation of a run."""

    seen: int
    protocol: str  # `history.protocol_key`
    figures: dict[str, float | None]
    about: dict[str, Any] = field(default_factory=dict)  # the protocol; of one on the way in words
    ideals: dict[str, str] = field(default_factory=dict)  # by figure: less, more, or what it should be
    titles: dict[str, str] = field(default_factory=dict)
    weights: str = ""  # SHA-256


@dataclass
class Run:
    """A run that is compared."""

    where: str
    options: dict[str, Any]  # that decide what it is, without the seed
    seed: int
    evaluation: EvaluationRecord | None  # what is compared: see `choose_evaluations`
    command: EvaluationRecord | None  # the evaluation that the command wrote last
    evaluations: list[EvaluationRecord]  # those on the way, by samples seen
    summary: dict[str, Any]  # empty: it has not ended


def runs_at(wheres: list[str]) -> Iterator[Run]:
    """The runs at paths and URLs, each once; of a folder of runs all of them.

    Raises:
        UserError: there is none, or one is damaged.
    """
    known: set[str] = set()
    for where in wheres:
        for one in _expanded(where):
            identity = one.rstrip("/") if scheme(one) else str(Path(one).resolve())
            if identity not in known:
                known.add(identity)
                with local_copy(one, *FILES) as path:
                    yield read(path, one)


def _expanded(where: str) -> list[str]:
    path = Path(where)
    if scheme(where) is not None or RunFolder(path).config.is_file():
        return [where]
    if not path.exists():
        raise UserError(f"no run at {where}")
    inside = sorted(str(one) for one in path.iterdir() if RunFolder(one).config.is_file()) if path.is_dir() else []
    if not inside:
        raise UserError(f"{where} holds no run and no folders of runs ({settings.CONFIG} is missing)")
    return inside


def read(path: Path, where: str) -> Run:
    """Read a run's folder; ``where`` is what the user calls it.

    Raises:
        UserError: its configuration or evaluation is damaged.
    """
    folder = RunFolder(path)
    options = settings.read(folder.config)
    wanted = [*flat(Config(), free=False), *_ALSO]
    run = Run(where, {name: options[name] for name in wanted if name in options}, options[SEED], None, None, [], {})
    del run.options[SEED]
    with suppress(OSError, ValueError):
        run.summary = migrations.RECORDS.migrated(json.loads(folder.summary.read_text()), str(folder.summary))
    counts = [options[f"evaluate.{name}"] for name in ("samples", "reals")]
    words = "of evaluations.jsonl; on the way (--evaluate_every) {:,} samples are judged by at most {:,} reals"
    words = words.format(*counts)
    about = {"on_the_way": words}
    rows = [row for row in history.read_lines(folder.evaluations) if "of" not in row and row.get("figures")]
    rows = [row for row in rows if "protocol" in row]
    run.evaluations = [EvaluationRecord(row["samples"], row["protocol"], row["figures"], about) for row in rows]
    run.evaluations.sort(key=lambda one: one.seen)
    run.command = _evaluation(path / "evaluation.json")
    return run


def choose_evaluations(runs: list[Run]) -> None:
    """Choose the evaluation of each run that is compared: by the protocol that most runs have one of.

    Of equally many it is one of the command, which has more figures. A run that has none of it has its command's, or
    the last on the way.
    """
    by_command = {run.command.protocol for run in runs if run.command}
    keys = [key for run in runs for key in {one.protocol for one in _all(run)}]
    common = max(sorted({*keys}), key=lambda key: (keys.count(key), key in by_command), default="")
    for run in runs:
        alike = [one for one in _all(run) if one.protocol == common]
        run.evaluation = (alike or _all(run) or [None])[-1]


def _all(run: Run) -> list[EvaluationRecord]:
    """All evaluations of a run, the command's last where none is of a later generator."""
    if run.command is None:
        return run.evaluations
    return sorted([*run.evaluations, run.command], key=lambda one: one.seen)


def _evaluation(path: Path) -> EvaluationRecord | None:
    """The evaluation in a file; None where there is none, or one of something else than a generator."""
    try:
        content = json.loads(path.read_text())
        migrations.check_format(content, FORMAT, VERSION, str(path))
        judged, protocol, figures = content["judged"], content["protocol"], content["figures"]
        if judged.get("seen") is None:
            return None
        values = {name: figure["value"] for name, figure in figures.items()}
        ideals = {name: figure.get("ideal", "") for name, figure in figures.items()}
        titles = {name: figure.get("title", name) for name, figure in figures.items()}
        key = history.protocol_key(protocol)
        return EvaluationRecord(judged["seen"], key, values, protocol, ideals, titles, judged.get("weights_sha256", ""))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): evaluate the run again") from error
