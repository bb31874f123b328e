"""The driver of a run on Ray Train workers: starts them, watches, starts them again.

An attempt is a group of workers of one size. It ends when the run is finished, when it is asked to (Ctrl-C,
a node that is going to be preempted, room for more workers), which leaves a checkpoint, or when something
dies. The next attempt goes on from the newest checkpoint with as many workers as there is room for.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragdist.config import Config
from ragdist.data.store import scheme
from ragdist.errors import UserError
from ragdist.objective.relative import group_size
from ragdist.on_ray import cluster
from ragdist.on_ray.attempt import Attempt
from ragdist.on_ray.capacity import Node, choose, need_of, room
from ragdist.on_ray.desk import Desk, News
from ragdist.on_ray.worker import Task
from ragdist.progress import Progress
from ragdist.runplace import Claim, place_of
from ragdist.session import already_finished, closing_words, open_data
from ragdist.stopping import StopOnSignal
from ragdist.trainer import Outcome
from ragdist.worldsize import AS_MANY_AS_FIT, WorldSize

_LOOK = 0.2  # seconds between two looks at the desk
_SURVEY = 1.0  # seconds between two looks at the cluster's nodes
_STEADY = 10.0  # seconds for which there must be room for more workers before a run grows
_SETTLE = 10.0  # seconds within which the resources of workers that ended become free
_CLEAN_UP = 60.0  # seconds that Ray may take to end the workers


def run(config: Config, size: WorldSize, *, overwrite: bool) -> int:
    """Train to the end, or until stopped; the exit code.

    Raises:
        UserError: see the parts; found by the driver or by a worker.
    """
    config = replace(config, out=_everywhere(config.out), data=replace(config.data, path=_everywhere(config.data.path)))
    place = place_of(config.out)
    with place.claimed(config, overwrite=overwrite) as claim, StopOnSignal() as stop:
        summary = place.summary()
        if summary and summary["images"] >= config.images:
            print(already_finished(config, summary))
            return 0
        open_data(config)
        cluster.connect()
        stop.listen()  # Ray's own handler of SIGTERM aborts the process
        try:
            outcome = Driver(config, size, claim, stop).drive()
        finally:
            ray.shutdown()
    print(closing_words(config, outcome) if outcome else "stopped before the first update; the same command starts")
    return 0 if outcome and outcome.finished else 130


def _everywhere(where: str) -> str:
    """A path that means the same in a worker's working directory."""
    return where if scheme(where) else str(Path(where).absolute())


class Driver:
    """Drives one run; see this file's head.

    Args:
        config: with absolute paths.
        size: the workers that are asked for.
        claim: the run's.
        stop: asks whether the user wants to end.
    """

    def __init__(self, config: Config, size: WorldSize, claim: Claim, stop: Callable[[], bool]):
        self.config, self.size, self.claim, self.stop = config, size, claim, stop
        self.nodes: list[Node] = []
        self.need = self._need()
        here = ray.get_runtime_context().get_node_id()
        self.desk = ray.remote(Desk).options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)
        ).remote()  # fmt: skip
        self.group = group_size(config.batch_size, config.objective.group)
        self.attempts = self.failures = 0
        self.progress: Progress | None = None
        self.furthest = -1
        self.failed_at: float | None = None

    def _need(self) -> dict[str, float]:
        self._survey()
        config = self.config
        gpus = None if config.gpus_per_worker < 0 else config.gpus_per_worker
        if config.device == "cpu":
            gpus = 0
        need = need_of(self.nodes, self.size, config.cpus_per_worker, gpus)
        if self.size.high != AS_MANY_AS_FIT:  # an autoscaler may add what is missing
            request_resources(bundles=[need] * self.size.high)
        return need

    def _survey(self) -> None:
        self.nodes, self._surveyed = cluster.nodes(), time.monotonic()

    def drive(self) -> Outcome | None:
        """Attempt after attempt, until the end or until stopped: then the outcome, None before any update.

        Raises:
            UserError: a worker found a mistake, or too many attempts failed.
        """
        try:
            while workers := self._await_room():
                attempt = self._start(workers)
                news = self._watch(attempt)
                if news.refused:
                    raise UserError(news.refused)
                if self.claim.lost:
                    raise UserError(f"{self.config.out} was taken over by another process: this one stopped")
                if news.outcome:
                    outcome = Outcome(**news.outcome)
                    if outcome.finished or self.stop():
                        return outcome
                    self.failures = 0
                else:
                    self._failed(attempt, news)
            return None
        finally:
            if self.progress:
                self.progress.close()
            if self.size.high != AS_MANY_AS_FIT:
                request_resources(bundles=[])

    def _say(self, line: str) -> None:
        self.progress.say(line) if self.progress else print(line, flush=True)

    # Before an attempt.

    def _await_room(self) -> int:
        """The number of workers to start, when there is room for enough; 0: stopped meanwhile."""
        said, began = 0.0, time.monotonic()
        while not self.stop():
            self._survey()
            count, free = self._choose(room(self.nodes, self.need)), room(self.nodes, self.need, free=True)
            # What ended workers held becomes free a little later; what others hold does not.
            if free < count and time.monotonic() - began > _SETTLE:
                count = self._choose(free)
            if count and free >= count:
                return count
            if time.monotonic() - said > 30 and time.monotonic() - began > 3:
                said = time.monotonic()
                what = ", ".join(f"{amount:g} {name}" for name, amount in self.need.items())
                self._say(
                    f"waiting for room: {free} of at least {self.size.low} workers of {what} fit now, on "
                    f"{sum(node.usable for node in self.nodes)} nodes"
                )
            time.sleep(0.5)
        return 0

    def _choose(self, fits: int) -> int:
        whole = bool(self.config.optim.micro_batch)
        return choose(self.size, fits, self.config.batch_size, self.group, whole_groups=whole)

    def _start(self, workers: int) -> Attempt:
        self.attempts += 1
        ray.get(self.desk.open.remote(self.attempts))
        gpu = self.need.get("GPU", 0) > 0
        if self.attempts == 1:
            what = ", ".join(f"{amount:g} {name}" for name, amount in self.need.items())
            self._say(f"starting {_workers(workers)}, {what} each")
        task = Task(
            self.config, self.desk, self.attempts, self.claim.token, int(self.need["CPU"]), gpu, self.furthest < 0
        )
        attempt = Attempt(task, workers, self.need, self.config.collective_timeout)
        attempt.start()
        return attempt

    # While it runs.

    def _watch(self, attempt: Attempt) -> News:
        """Print what it says until it ends; ask it to end when there is a reason."""
        asked, roomy_since = False, None
        while attempt.is_alive():
            news = self._show(attempt)
            if news.outcome or news.refused:
                attempt.join(_CLEAN_UP)
                break
            if not asked and (self.stop() or self.claim.lost):
                asked = True
            elif not asked and time.monotonic() - self._surveyed > _SURVEY:
                self._survey()
                going = {worker["node"]: worker for worker in news.workers.values()}.keys() & cluster.draining()
                if going:
                    names = ", ".join(sorted(w["address"] for w in news.workers.values() if w["node"] in going))
                    self._say(f"{names} is going to be shut down: writing a checkpoint and going on without it")
                    asked = True
                more = self._choose(attempt.workers + room(self.nodes, self.need, free=True))
                roomy_since = (roomy_since or time.monotonic()) if more > attempt.workers else None
                if roomy_since and news.done >= 0 and time.monotonic() - roomy_since > _STEADY:
                    self._say(f"room for {_workers(more)}: writing a checkpoint and going on with them")
                    asked = True
            if asked:
                ray.get(self.desk.ask_to_stop.remote())
            attempt.join(_LOOK)
        return self._show(attempt)

    def _show(self, attempt: Attempt) -> News:
        news = News(*ray.get(self.desk.look.remote()))
        for line in news.lines:
            self._say(line)
        if news.done > self.furthest:
            if self.furthest >= 0 and self.failed_at:
                seconds = time.monotonic() - self.failed_at
                self._say(f"training again with {_workers(attempt.workers)}, {seconds:.1f} s after the failure")
            self.failed_at, self.furthest = None, news.done
            self.failures = 0
        if news.done >= 0:
            self.progress = self.progress or Progress(self.config.images, done=news.done)
            self.progress.advance(news.done - self.progress.done)
            if news.text != self.progress.text:
                self.progress.describe(news.text)
        return news

    # After it.

    def _failed(self, attempt: Attempt, news: News) -> None:
        reason = attempt.reason(news.workers)
        self.failures += 1
        self.failed_at = self.failed_at or time.monotonic()
        if self.failures > self.config.max_failures:
            raise UserError(
                f"{self.failures} attempts in a row ended without progress (--max_failures "
                f"{self.config.max_failures}), the last: {reason}. The last checkpoint is kept; Ray's logs, in "
                "/tmp/ray/session_latest/logs of each node, say more"
            )
        self._say(f"the workers failed ({reason}): going on from the last checkpoint")


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"
