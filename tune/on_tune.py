"""A search on Ray Tune, which places trials on the cluster and restarts those whose processes die.

What is tried, what goes on and what is known, `SearchState` decides; Tune restores nothing, so that nothing of its own
has to be trusted after a crash.
"""

import shutil
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ragdist.config import cli, world_size
from ragdist.config.world_size import AS_MANY_AS_FIT, WorldSize
from ragdist.launch.on_ray import cluster
from ragdist.launch.on_ray.attempt import short
from ragdist.launch.on_ray.capacity import need_of, room
from ragdist.launch.on_ray.ray_internals import HEAD
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from tune.state import SearchState
from tune.trial_actor import TrialActor

_RESTARTS = 2  # of a trial whose process dies
_HEAD = {HEAD: 0.0001}  # for what needs no processor of its own


class Resources:
    """Resources of a trial, and the number of trials there is room for.

    Raises:
        UserError: not even for one.
    """

    def __init__(self, search: SearchState):
        config, options = search.plan.config, search.plan.options
        size = world_size.parse(options.workers_per_trial)
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
        self.concurrent = min(count, options.concurrent or count, max(search.left, 1))
        self.text = f"{self.concurrent} at a time, {amounts} {'each' if size.in_process else 'a worker'}"


def execute(search: SearchState, resources: Resources, stop: Callable[[], bool], show: Callable[[], None]) -> str:
    """Run the trials that are left, or until ``stop()``; the reason if it gave up, else empty.

    Args:
        search: its state.
        resources: of its trials.
        stop: asked often; running trials then write checkpoints and end.
        show: called often, for a live table.
    """
    bridge = _Bridge(search, resources, stop, show)
    scratch = search.folder.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(TrialActor, ray.tune.PlacementGroupFactory([resources.bundle])),
        tune_config=ray.tune.TuneConfig(
            num_samples=search.left,
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
    """The bridge between Ray Tune and the state of a search."""

    def __init__(self, search: SearchState, resources: Resources, stop: Callable[[], bool], show: Callable[[], None]):
        self.search, self.resources, self.stop, self.show = search, resources, stop, show
        self.crashes, self.gave_up = 0, ""
        self.searcher, self.scheduler = _Searcher(self), _Scheduler(self)
        self.callback = _Callback(self)

    def config(self) -> dict[str, Any] | None:
        """A trial's configuration for Tune; None: there is none now, or no more."""
        trial = None if self.ending() else self.search.next()
        if trial is None:
            return None
        return {
            "number": trial.number,
            "where": str(self.search.folder.path.absolute()),
            "resources": self.resources.options,
            "threads": self.resources.threads,
            "judging": self.resources.judging,
            "plugins": plugins.named(cli.plugin_files(self.search.plan.config.plugin)),
        }

    def ending(self) -> bool:
        """Whether no further trial is to begin; running ones are asked to stop."""
        ending = bool(self.stop() or self.gave_up)
        if ending and not self.search.folder.stopping.exists():
            self.search.folder.stopping.touch()
        return ending

    def reached(self, number: int, result: dict[str, Any]) -> bool:
        """Take a trial's result at a rung, or its failure; whether it goes on."""
        if result["interrupted"]:
            return False
        if result["refused"]:
            self.crash(number, result["refused"])
            return False
        self.crashes = 0
        if result["diverged"]:
            self.search.diverged(number, result["diverged"])
            return False
        return self.search.record(number, result["seen"], list(result["values"]), result["seconds"])

    def crash(self, number: int, reason: str) -> None:
        self.search.crashed(number, reason)
        self.crashes += 1
        most = self.search.plan.options.max_crashes
        if self.crashes >= most:
            self.gave_up = f"{most} trials in a row could not be made (--max_crashes {most}), the last: {reason}"


class _Searcher(Searcher):
    def __init__(self, bridge: _Bridge):
        super().__init__(metric="seen", mode="max")  # what Tune does with it is nothing
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
