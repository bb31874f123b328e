"""One attempt at a run: Ray Train workers from their start to their end."""

import re
import threading
import time

import ray.train
from ray.exceptions import ActorUnavailableError, NodeDiedError, RayActorError
from ray.train.torch import TorchConfig, TorchTrainer

from ragdist.launch.on_ray.ray_internals import NODE_ID, failure_of, node_died, without_data, without_goodbye
from ragdist.launch.on_ray.worker import Task, work

_Trainer, _ProcessGroup = without_data(TorchTrainer), without_goodbye(TorchConfig)


class Attempt(threading.Thread):
    """Runs `TorchTrainer.fit` beside the driver, which goes on to watch and to print.

    Recovery is the driver's: Ray Train's own restarts a group without a checkpoint when it resizes it, and not at
    all when a node dies while workers start.

    Args:
        task: sent to each worker.
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
        """Run the workers to their end; the body of the thread."""
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
        """The reason of the failure in a line; ``workers`` says where each rank was."""
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
    error = failure_of(error)
    text = str(error)
    if isinstance(error, (NodeDiedError, ActorUnavailableError)) or node_died(text):
        return "its node died or cannot be reached"
    if isinstance(error, RayActorError):
        return "its process died"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    line = named[-1] if named else lines[0] if lines else type(error).__name__
    return line if len(line) <= 300 else line[:297] + "..."


def _rank_of_cause(error: BaseException) -> int:
    """0 for a worker that died, 1 for one that failed by itself, 2 for one that lost the connection to another."""
    if isinstance(failure_of(error), RayActorError):
        return 0
    lost = r"Connection (closed|reset)|connection was|gloo|NCCL|DistBackendError|timed out"
    return 2 if re.search(lost, str(error), re.IGNORECASE) else 1
