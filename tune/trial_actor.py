"""The actor that Ray Tune executes: it advances a trial from rung to rung, and may then take another trial."""

import json
import time
from pathlib import Path
from typing import Any

import ray
import ray.tune
import torch

from ragdist.config import Config
from ragdist.distributed.world import pick_device
from ragdist.launch.on_ray.ray_internals import JOB_CONFIG
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from ragdist.tools.memory import keep_freed_memory
from ragdist.training import compiling
from tune import plan
from tune.evaluator import TrialEvaluator
from tune.folder import SearchFolder
from tune.rung import RungResult, advance

_DISTANT = "--out {where}: the node {node} does not see it; give a folder that all nodes share"


class TrialActor(ray.tune.Trainable):
    """The actor of trials. Its configuration: the search's folder, the trial's number, plugins; all else is on disk."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial; called by Ray Tune."""
        self.number, self.place = config["number"], SearchFolder(config["where"])
        self.plan, self.evaluator, self.refused = None, None, ""
        self._looked, self._ending = 0.0, False
        try:
            if not self.place.search.is_file():
                node = ray.util.get_node_ip_address()
                raise UserError(_DISTANT.format(where=self.place.path, node=node))
            plugins.take(config["plugins"])
            self.plan = plan.read(self.place.search, config["resources"])
            plan.check_code(self.plan, self.place.search)
            own = self.plan.config
            remote = own.workers != "0"
            self.device = _device(own, not remote and config["resources"]["gpus_per_worker"] > 0)
            if self.device.type == "cpu":
                keep_freed_memory()
                torch.set_num_threads(max(1, int(config["threads"])))
            if own.compile and not remote:
                compiling.check(self.device)
            self.judging = config["judging"]
            if not self.judging:
                self.evaluator = TrialEvaluator(self.plan, self.device)
        except UserError as error:
            self.refused = str(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial: the process, its imports and its warm caches stay."""
        self.number = new_config["number"]
        return not self.refused

    def step(self) -> dict[str, Any]:
        """Advance the trial to its next rung; the result for `on_tune`."""
        if self.refused:
            return vars(RungResult(0, refused=self.refused))
        result = advance(
            self.plan,
            self.place,
            self.number,
            self._metric,
            device=self.device,
            environment=_environment,
            stop=self._stop,
        )
        return vars(result)

    def _metric(self, run: Path) -> float:
        if not self.judging:
            return self.evaluator(run)
        # The workers' resources are free now; judging takes some of them.
        task = ray.remote(_evaluate).options(scheduling_strategy="DEFAULT", **self.judging)  # not in its own place
        try:
            gpu, loaded = self.judging["num_gpus"] > 0, plugins.loaded()
            return ray.get(task.remote(loaded, str(self.place.path), str(run), gpu))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error

    def _stop(self) -> bool:
        """Whether the search is to end; asked after each update, looked up once a second."""
        if time.monotonic() - self._looked > 1:
            self._looked, self._ending = time.monotonic(), self.place.stopping.exists()
        return self._ending

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write nothing: a trial's state is its runs' checkpoints and its record."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing: see `save_checkpoint`."""


def _environment() -> dict[str, str]:
    """What a driver of its own needs to join this cluster, with the code that this one has."""
    context = ray.get_runtime_context()
    job = json.dumps({"runtime_env": json.loads(context.get_runtime_env_string())})
    return {"RAY_ADDRESS": context.gcs_address, JOB_CONFIG: job}


def _evaluate(loaded: tuple[plugins.Plugin, ...], where: str, run: str, gpu: bool) -> float:
    plugins.take(loaded)
    found = plan.read(SearchFolder(where).search)
    return TrialEvaluator(found, _device(found.config, gpu))(Path(run))


def _device(config: Config, gpu: bool) -> torch.device:
    """The GPU that Ray gave to this process, the only one that it sees; else the CPU."""
    return pick_device("cuda" if gpu else "cpu", **config.kernels)
