"""One search from its plan to its results: claim the folder, prepare, try, sum up."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from ragdist import ray_internals, rayenv
from ragdist.config import Config
from ragdist.errors import UserError
from ragdist.files import explain, write_whole
from ragdist.session import everywhere, open_data
from ragdist.stopping import StopOnSignal
from ragdist.world import pick_device
from tune import plan as plans
from tune import results, space
from tune.course import Course
from tune.folder import SearchFolder
from tune.judge import Judge
from tune.plan import Plan
from tune.table import Table


def run(plan: Plan, out: Path, *, overwrite: bool, began: float) -> int:
    """Search, or go on; the exit code. ``began`` is when the command did, by time.monotonic().

    Raises:
        UserError: see the parts.
    """
    place = SearchFolder(out)
    config = plan.config
    everywhere(str(out), "--out")
    config = space.varied(config, {"data.path": everywhere(config.data.path, "--data")})
    judged_by = everywhere(plan.options.judged_by, "--judged_by")
    plan = plans.make(config, replace(plan.options, judged_by=judged_by), plan.axes)
    with place.claimed(), StopOnSignal() as stop:
        if overwrite:
            _clear(place)
        if place.search.is_file():
            plans.same(plan, place.search)
        elif any(place.trials.iterdir()):
            raise UserError(f"{out} holds trials but no {place.search.name}: restore it, or give --overwrite")
        course = Course(plan, place)
        with explain(f"cannot write the search to {out}"):
            write_whole(place.search, json.dumps(plan.content(), indent=1) + "\n")
        open_data(config)
        remote = plan.options.workers_per_trial != "0"
        metric = Judge(plan, _device(config, remote), print).text
        torch.cuda.empty_cache()  # a trial may be on the same GPU
        for axis in plan.axes:
            print(f"{axis.name}: {axis.text()}")
        runs = f" on each of {plan.options.seeds} seeds" if plan.options.seeds > 1 else ""
        print(f"{course.total} trials of {plan.budget:,} images{runs}; {metric}", flush=True)
        table = Table(course)
        gave_up = ""
        if course.left and not stop():
            gave_up = _execute(course, stop, table)
        if stop():
            print(f"stopped; the same command continues the search in {out}")
            return 130
        if gave_up:
            raise UserError(f"{gave_up}. What is done is kept in {out}; the same command continues")
        results.write(course)
        print(*results.summary(course, time.monotonic() - began), sep="\n")
    return 0


def _device(config: Config, remote: bool) -> torch.device:
    """Where the driver makes what all trials compare with; the head of a cluster may have no GPU."""
    distant = os.environ.get("RAY_ADDRESS") and not torch.cuda.is_available()
    return pick_device("cpu" if remote or distant else config.device, **config.kernels)


def _execute(course: Course, stop: StopOnSignal, table: Table) -> str:
    rayenv.prepare(course.plan.config.collective_timeout)
    for name, variable in ray_internals.TUNE.items():
        os.environ.setdefault(name, variable.value)
    import ray

    from ragdist.on_ray import cluster
    from tune import on_tune

    try:
        cluster.connect()
        stop.listen()  # Ray's own handler of SIGTERM aborts the process
        resources = on_tune.Resources(course)
        print(resources.text, flush=True)
        return on_tune.execute(course, resources, stop, table.show)
    except ray.exceptions.RayError as error:
        what = str(error).strip().splitlines()[0][:300]
        raise UserError(f"the Ray cluster does not answer ({what}): the same command continues") from error
    finally:
        table.close()
        ray.shutdown()
        course.folder.stopping.unlink(missing_ok=True)


def _clear(place: SearchFolder) -> None:
    """Delete what a search writes."""
    for folder in (place.trials, place.board, place.scratch):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (place.search, place.csv, place.best, place.report):
        file.unlink(missing_ok=True)
    place.trials.mkdir()
