"""A search from its plan to its results: lock the folder, prepare, run the trials, sum up."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from ragdist import modalities
from ragdist.config import Config
from ragdist.distributed.world import pick_device
from ragdist.launch import source
from ragdist.launch.launch import in_ray_job, with_paths_of_plugins
from ragdist.launch.on_ray import environment, job, ray_internals
from ragdist.launch.session import absolute_path, open_data
from ragdist.storage.files import os_errors_as_user_error, write_whole
from ragdist.tools.errors import UserError
from ragdist.tools.stop_signal import StopOnSignal
from tune import plan as plans
from tune import results, space
from tune.evaluator import TrialEvaluator, check
from tune.folder import SearchFolder
from tune.plan import Plan
from tune.ranking import ranked
from tune.state import SearchState
from tune.table import Table


def run(plan: Plan, out: Path, *, overwrite: bool, began: float) -> int:
    """Run or continue a search. ``began`` is when the command did, by time.monotonic().

    Returns:
        The exit code: 0, or 1 where trials crashed or none got to the end of its budget; 130 where it was stopped.

    Raises:
        UserError: a mistake that the user can mend: damaged data, a folder in use, no such device.
    """
    plan, out = _understood_everywhere(plan, out)
    place = SearchFolder(out)
    units = modalities.making(open_data(plan.config).codec).units
    check(plan)  # a start that is refused leaves nothing behind, and what was there before
    with place.locked(), StopOnSignal() as stop:
        if not overwrite:
            _check_same(plan, place)
        remote = plan.options.workers_per_trial != "0"
        metric = TrialEvaluator(plan, _device(plan.config, remote), print).text
        torch.cuda.empty_cache()  # a trial may be on the same GPU
        search = _begin(plan, place, overwrite=overwrite)
        search.units = units
        for axis in plan.axes:
            print(f"{axis.name}: {axis.text()}")
        runs = f" on each of {plan.options.seeds} seeds" if plan.options.seeds > 1 else ""
        print(f"{search.total} trials of {plan.budget:,} {search.units}{runs}; {metric}", flush=True)
        table = Table(search)
        gave_up = ""
        if search.left and not stop():
            gave_up = _execute(search, stop, table)
        if stop():
            print(f"stopped; the same command continues the search in {out}")
            return 130
        if gave_up:
            raise UserError(f"{gave_up}. What is done is kept in {out}; the same command continues")
        results.write(search)
        print(*results.summary(search, time.monotonic() - began), sep="\n")
    return 1 if results.crashed(search) or not ranked(search) else 0


def _understood_everywhere(plan: Plan, out: Path) -> tuple[Plan, Path]:
    """The plan and the folder by absolute paths. Raises UserError for relative ones in a Ray job on several nodes."""
    config = with_paths_of_plugins(plan.config)
    if in_ray_job():
        config = job.with_lasting_data(config)
        out = Path(job.lasting_path(str(out), "--out", config.collective_timeout))
    config = space.varied(config, {"data.path": absolute_path(config.data.path, "--data")})
    config = source.of_all(config)
    judged_by = absolute_path(plan.options.judged_by, "--judged_by")
    return plans.make(config, replace(plan.options, judged_by=judged_by), plan.axes), out


def _check_same(plan: Plan, place: SearchFolder) -> None:
    """Refuse a folder that holds another search than the plan's."""
    if place.search.is_file():
        plans.same(plan, place.search)
    elif any(place.trials.iterdir()):
        raise UserError(f"{place.path} holds trials but no {place.search.name}: restore it, or give --overwrite")


def _begin(plan: Plan, place: SearchFolder, *, overwrite: bool) -> SearchState:
    if overwrite:
        _clear(place)
    search = SearchState(plan, place)
    with os_errors_as_user_error(f"cannot write the search to {place.path}"):
        write_whole(place.search, json.dumps(plan.content(), indent=1) + "\n")
    return search


def _device(config: Config, remote: bool) -> torch.device:
    """The device on which the driver computes the reference; the head of a cluster may have no GPU."""
    distant = os.environ.get("RAY_ADDRESS") and not torch.cuda.is_available()
    return pick_device("cpu" if remote or distant else config.device, **config.kernels)


def _execute(search: SearchState, stop: StopOnSignal, table: Table) -> str:
    environment.prepare(search.plan.config.collective_timeout)
    for name, variable in ray_internals.TUNE.items():
        os.environ.setdefault(name, variable.value)
    import ray

    from ragdist.launch.on_ray import cluster
    from tune import on_tune

    try:
        cluster.connect()
        stop.listen()  # Ray's own handler of SIGTERM aborts the process
        resources = on_tune.Resources(search)
        print(resources.text, flush=True)
        return on_tune.execute(search, resources, stop, table.show)
    except ray.exceptions.RayError as error:
        what = str(error).strip().splitlines()[0][:300]
        raise UserError(f"the Ray cluster does not answer ({what}): the same command continues") from error
    finally:
        table.close()
        ray.shutdown()
        search.folder.stopping.unlink(missing_ok=True)


def _clear(place: SearchFolder) -> None:
    """Delete the files of a search, and nothing else."""
    for folder in (place.trials, place.board, place.scratch):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (place.search, place.csv, place.best, place.report):
        file.unlink(missing_ok=True)
    place.trials.mkdir()
