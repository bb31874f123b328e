"""One attempt at a run: Ray Train workers from their start to their end."""

import re
import tempfile
import threading

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from ragdist.on_ray.worker import Task, work


class Attempt(threading.Thread):
    """Runs `TorchTrainer.fit` beside the driver, which goes on to watch and to print.

    Recovery is the driver's: Ray Train's own restarts a group without a checkpoint when it resizes it, and not at
    all when a node dies while workers start.

    Args:
        task: what each worker is sent.
        workers: how many.
        need: the resources of each.
        timeout: seconds after which a collective operation fails.
    """

    def __init__(self, task: Task, workers: int, need: dict[str, float], timeout: float):
        super().__init__(name=f"attempt-{task.attempt}", daemon=True)
        self.task, self.workers, self.need, self.timeout = task, workers, need, timeout
        self.error: Exception | None = None

    def run(self) -> None:
        resources = {name: amount for name, amount in self.need.items() if name != "GPU"}
        trainer = TorchTrainer(
            work,
            train_loop_config=self.task,
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if self.task.gpu else "gloo", timeout_s=max(1, round(self.timeout))
            ),
            scaling_config=ray.train.ScalingConfig(
                num_workers=self.workers,
                use_gpu=self.task.gpu,
                resources_per_worker=resources | ({"GPU": self.need["GPU"]} if self.task.gpu else {}),
            ),
            run_config=ray.train.RunConfig(
                name=f"ragdist-{self.task.attempt}",
                # Ray stores nothing: checkpoints are ours, and metrics go to the run's folder.
                storage_path=tempfile.gettempdir() + "/ragdist-ray",
                failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # the driver decides what it means
            self.error = error

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        return short(self.error) if self.error else "it ended without a result"


def short(error: BaseException) -> str:
    """The cause in a Ray error's long text: the last line of the innermost traceback, else the first line."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank, first = min(failures.items(), key=lambda item: _consequence(item[1]))
        return f"rank {rank}: {short(first)}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    line = (raised or lines or [type(error).__name__])[-1 if raised else 0]
    return line if len(line) <= 300 else line[:297] + "..."


def _consequence(error: BaseException) -> bool:
    """Whether a worker only failed because another one did: its connection to that one broke."""
    return bool(re.search(r"Connection (closed|reset)|gloo|NCCL|DistBackendError|timed out", str(error), re.IGNORECASE))
