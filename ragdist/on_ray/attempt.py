"""One attempt at a run: Ray Train workers from their start to their end."""

import re
import threading
import time

import ray.train
from ray.exceptions import ActorUnavailableError, NodeDiedError, RayActorError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback

from ragdist.on_ray.worker import Task, work

NODE_ID = "ray.io/node-id"  # the label that Ray gives every node


class _Backend(TorchConfig().backend_cls):
    """Ray Train's, without its goodbye: it has every worker leave the process group, and a frozen one never does."""

    def on_shutdown(self, worker_group, backend_config) -> None:
        """The processes end next anyway."""


class _ProcessGroup(TorchConfig):
    @property
    def backend_cls(self):
        return _Backend


class _Trainer(TorchTrainer):
    """Ray Train's, without the actor that deals out Ray Data's sets: there are none, and it delays every start."""

    def _create_default_callbacks(self):
        return [each for each in super()._create_default_callbacks() if not isinstance(each, DatasetsCallback)]


class Attempt(threading.Thread):
    """Runs `TorchTrainer.fit` beside the driver, which goes on to watch and to print.

    Recovery is the driver's: Ray Train's own restarts a group without a checkpoint when it resizes it, and not at
    all when a node dies while workers start.

    Args:
        task: what each worker is sent.
        workers: how many.
        need: the resources of each.
        timeout: seconds after which a collective operation fails.
        avoid: ids of nodes that are to have no worker.
        scratch: a folder for what Ray Train wants to have stored.
    """

    def __init__(
        self, task: Task, workers: int, need: dict[str, float], timeout: float, *, avoid: list[str], scratch: str
    ):
        super().__init__(name=f"attempt-{task.attempt}", daemon=True)
        self.task, self.workers, self.need, self.timeout = task, workers, need, timeout
        self.avoid, self.scratch = avoid, scratch
        self.began = time.monotonic()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._fit()
        except Exception as error:  # the driver decides what it means
            self.error = error

    def _fit(self) -> None:
        resources = {name: amount for name, amount in self.need.items() if name != "GPU"}
        trainer = _Trainer(
            work,
            train_loop_config=self.task,
            torch_config=_ProcessGroup(
                backend="cpu:gloo,cuda:nccl" if self.task.gpu else "gloo", timeout_s=max(1, round(self.timeout))
            ),
            scaling_config=ray.train.ScalingConfig(
                num_workers=self.workers,
                use_gpu=self.task.gpu,
                resources_per_worker=resources | ({"GPU": self.need["GPU"]} if self.task.gpu else {}),
                label_selector={NODE_ID: f"!in({','.join(self.avoid)})"} if self.avoid else None,
            ),
            run_config=ray.train.RunConfig(
                name=f"ragdist-{self.task.attempt}",
                # Ray stores nothing: checkpoints are ours, and metrics go to the run's folder.
                storage_path=self.scratch,
                failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )
        trainer.fit()

    def reason(self, workers: dict[int, dict]) -> str:
        """Why it failed, in a line; ``workers`` says where each rank was."""
        if self.error is None:
            return "it ended without a result"
        failures = getattr(self.error, "worker_failures", None)
        if not failures:
            controller = "Ray Train's controller: " if isinstance(self.error, RayActorError) else ""
            return controller + short(self.error)
        rank, error = min(failures.items(), key=lambda item: (_rank_of_cause(item[1]), item[0]))
        where = workers[rank]["address"] if rank in workers else "an unknown node"
        return f"rank {rank} on {where}: {short(error)}"


def short(error: BaseException) -> str:
    """The cause in a Ray error's long text."""
    error = getattr(error, "health_check_failure", error)
    text = str(error)
    if isinstance(error, (NodeDiedError, ActorUnavailableError)) or "node has died" in text or "node died" in text:
        return "its node died or cannot be reached"
    if isinstance(error, RayActorError):
        return "its process died"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    line = raised[-1] if raised else lines[0] if lines else type(error).__name__
    return line if len(line) <= 300 else line[:297] + "..."


def _rank_of_cause(error: BaseException) -> int:
    """0 for a worker that died, 1 for one that failed by itself, 2 for one that lost the connection to another."""
    if isinstance(getattr(error, "health_check_failure", error), RayActorError):
        return 0
    lost = r"Connection (closed|reset)|connection was|gloo|NCCL|DistBackendError|timed out"
    return 2 if re.search(lost, str(error), re.IGNORECASE) else 1
