"""A search on Ray Tune: it places the trials on the cluster and starts them again when their processes die.

What is tried, what goes on and what is known is the `Course`'s; Tune restores nothing, so that nothing of its own has
to be trusted after a crash.
"""

import shutil
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ragdist import worldsize
from ragdist.errors import UserError
from ragdist.on_ray import cluster
from ragdist.on_ray.attempt import short
from ragdist.on_ray.capacity import need_of, room
from ragdist.ray_internals import HEAD
from ragdist.worldsize import AS_MANY_AS_FIT, WorldSize
from tune.course import Course
from tune.trial import TrialActor

_RESTARTS = 2  # of a trial whose process dies
_HEAD = {HEAD: 0.0001}  # for what needs no processor of its own


class Resources:
    """What a trial takes, and how many trials there is room for.

    Raises:
        UserError: not even for one.
    """

    def __init__(self, course: Course):
        config, options = course.plan.config, course.plan.options
        size = worldsize.parse(options.workers_per_trial)
        nodes = cluster.nodes()
        gpus = 0 if config.device == "cpu" else None if config.gpus_per_worker < 0 else config.gpus_per_worker
        # A core for each, so that most trials are made at a time; beside a GPU its share of the node's cores.
        need = need_of(nodes, WorldSize(1, AS_MANY_AS_FIT), config.cpus_per_worker, gpus)
        if "GPU" not in need and not config.cpus_per_worker:
            need["CPU"] = 1.0
        self.options = {
            "workers": options.workers_per_trial,
            "cpus_per_worker": int(need["CPU"]),
            "gpus_per_worker": int(need.get("GPU", 0)),
        }
        self.judging: dict[str, float] = {}
        if size.in_process:
            count = room(nodes, need)
            self.bundle, self.threads = need, int(need["CPU"])
            what = "a trial"
        else:
            count = room(nodes, need) // size.low
            self.bundle, self.threads = _HEAD, 1
            self.judging = {"num_cpus": need["CPU"], "num_gpus": need.get("GPU", 0)}
            what = f"a trial of {size.low} workers, each"
        self.need, self.where = need, f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
        amounts = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
        if not count:
            total: dict[str, float] = {}
            for node in nodes:
                for name in ("CPU", "GPU"):
                    total[name] = total.get(name, 0) + node.total.get(name, 0)
            has = ", ".join(f"{amount:g} {name}" for name, amount in total.items() if amount) or "nothing"
            raise UserError(
                f"{what} needs {amounts}, and the cluster ({self.where}) has {has}: give fewer --workers_per_trial, "
                "--cpus_per_worker or --gpus_per_worker"
            )
        self.concurrent = min(count, options.concurrent or count, max(course.left, 1))
        self.text = f"{self.concurrent} at a time, {amounts} {'each' if size.in_process else 'a worker'}"


def execute(course: Course, resources: Resources, stop: Callable[[], bool], show: Callable[[], None]) -> str:
    """Try all that is left of a search, or until ``stop()``; why it gave up, empty if it did not.

    Args:
        course: the search.
        resources: of its trials.
        stop: asked often; running trials then write checkpoints and end.
        show: called often, for a live table.
    """
    bridge = _Bridge(course, resources, stop, show)
    scratch = course.folder.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(TrialActor, ray.tune.PlacementGroupFactory([resources.bundle])),
        tune_config=ray.tune.TuneConfig(
            num_samples=course.left,
            search_alg=bridge.searcher,
            scheduler=bridge.scheduler,
            max_concurrent_trials=resources.concurrent,
            reuse_actors=True,
        ),
        run_config=ray.tune.RunConfig(
            name="search",
            storage_path=str(scratch.absolute()),
            failure_config=ray.tune.FailureConfig(max_failures=_RESTARTS),
            checkpoint_config=ray.tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=[bridge.callback],
            verbose=0,
        ),
    )
    tuner.fit()
    shutil.rmtree(scratch, ignore_errors=True)
    return bridge.gave_up


class _Bridge:
    """What Tune asks and tells, put to the course."""

    def __init__(self, course: Course, resources: Resources, stop: Callable[[], bool], show: Callable[[], None]):
        self.course, self.resources, self.stop, self.show = course, resources, stop, show
        self.crashes, self.gave_up = 0, ""
        self.searcher, self.scheduler = _Searcher(self), _Scheduler(self)
        self.callback = _Callback(self)

    def config(self) -> dict[str, Any] | None:
        """A trial for Tune; None: there is none, or no more."""
        trial = None if self.ending() else self.course.next()
        if trial is None:
            return None
        return {
            "number": trial.number,
            "where": str(self.course.folder.path.absolute()),
            "resources": self.resources.options,
            "threads": self.resources.threads,
            "judging": self.resources.judging,
        }

    def ending(self) -> bool:
        """Whether no further trial is to begin; what runs is told."""
        ending = bool(self.stop() or self.gave_up)
        if ending and not self.course.folder.stopping.exists():
            self.course.folder.stopping.touch()
        return ending

    def reached(self, number: int, result: dict[str, Any]) -> bool:
        """A trial came to a rung, or could not; whether it goes on."""
        if result["interrupted"]:
            return False
        if result["refused"]:
            self.crash(number, result["refused"])
            return False
        self.crashes = 0
        if result["diverged"]:
            self.course.diverged(number, result["diverged"])
            return False
        return self.course.judged(number, result["images"], list(result["values"]), result["seconds"])

    def crash(self, number: int, reason: str) -> None:
        self.course.crashed(number, reason)
        self.crashes += 1
        most = self.course.plan.options.max_crashes
        if self.crashes >= most:
            self.gave_up = f"{most} trials in a row could not be made (--max_crashes {most}), the last: {reason}"


class _Searcher(Searcher):
    def __init__(self, bridge: _Bridge):
        super().__init__(metric="images", mode="max")  # what Tune does with it is nothing
        self.bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        return self.bridge.config() or Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None: ...

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


class _Scheduler(FIFOScheduler):
    def __init__(self, bridge: _Bridge):
        super().__init__()
        self.bridge = bridge

    def on_trial_result(self, tune_controller, trial, result: dict[str, Any]) -> str:
        goes_on = self.bridge.reached(trial.config["number"], result)
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP


class _Callback(ray.tune.Callback):
    def __init__(self, bridge: _Bridge):
        self.bridge = bridge
        self.shown = 0.0

    def on_step_end(self, iteration: int, trials: list, **info) -> None:
        self.bridge.ending()
        if time.monotonic() - self.shown > 0.5:
            self.shown = time.monotonic()
            self.bridge.show()

    def on_trial_error(self, iteration: int, trials: list, trial, **info) -> None:
        error = trial.get_pickled_error()
        self.bridge.crash(trial.config["number"], short(error) if error else "its process died")
