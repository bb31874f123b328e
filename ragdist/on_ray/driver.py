"""The driver of a run on Ray Train workers: starts them, watches, starts them again.

An attempt is a group of workers of one size. It ends when the run is finished, when it is asked to (Ctrl-C,
a node that is going to be preempted, room for more workers), which leaves a checkpoint, or when something
dies. The next attempt goes on from the newest checkpoint with as many workers as there is room for.
"""

import tempfile
import time
from contextlib import suppress
from dataclasses import replace

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragdist import ray_internals
from ragdist.config import Config
from ragdist.errors import UserError
from ragdist.objective.relative import group_size
from ragdist.on_ray import cluster, waits
from ragdist.on_ray.attempt import Attempt
from ragdist.on_ray.capacity import Node, choose, need_of, room
from ragdist.on_ray.desk import Desk, News
from ragdist.on_ray.worker import Task
from ragdist.progress import Progress
from ragdist.runplace import Claim, place_of
from ragdist.session import already_finished, closing_words, everywhere, open_data
from ragdist.stopping import StopOnSignal
from ragdist.trainer import Outcome
from ragdist.worldsize import AS_MANY_AS_FIT, WorldSize

_LOOK = 0.2  # seconds between two looks at the desk
_SURVEY = 1.0  # seconds between two looks at the cluster's nodes
_SETTLE = 5.0  # seconds within which the resources of workers that ended become free
_STOP = 20.0  # seconds within which workers that have not begun to train must end when asked to
_CLEAN_UP = 60.0  # seconds that Ray may take to end the workers
_BANISHED = 300.0  # seconds for which a node on which an attempt could not start gets no worker


def run(config: Config, size: WorldSize, *, overwrite: bool, began: float) -> int:
    """Train to the end, or until stopped; the exit code. ``began`` is when the command did, by time.monotonic().

    Raises:
        UserError: see the parts; found by the driver or by a worker.
    """
    config = replace(
        config,
        out=everywhere(config.out, "--out"),
        data=replace(config.data, path=everywhere(config.data.path, "--data")),
    )
    open_data(config)
    place = place_of(config.out)
    with place.claimed(config, overwrite=overwrite) as claim, StopOnSignal() as stop:
        summary = place.summary()
        if summary and summary["images"] >= config.images:
            print(already_finished(config, summary))
            return 0
        try:
            with tempfile.TemporaryDirectory(prefix="ragdist-ray-") as scratch:
                ready = time.monotonic()
                cluster.connect()
                stop.listen()  # Ray's own handler of SIGTERM aborts the process
                driver = Driver(config, size, claim, stop, scratch=scratch, began=began, ready=ready)
                outcome = driver.drive()
        except ray.exceptions.RayError as error:
            what = str(error).strip().splitlines()[0][:300]
            raise UserError(
                f"the Ray cluster does not answer ({type(error).__name__}: {what}): the last checkpoint is kept, the "
                "same command continues"
            ) from error
        finally:
            ray.shutdown()
    if outcome:
        print(closing_words(config, outcome))
    else:
        print(f"stopped; the last checkpoint is in {config.out}/checkpoints, and the same command continues")
    return 0 if outcome and outcome.finished else 130


class Driver:
    """Drives one run; see this file's head.

    Args:
        config: with absolute paths.
        size: the workers that are asked for.
        claim: the run's.
        stop: asks whether the user wants to end.
        scratch: a folder for Ray.
        began: when the command began, by time.monotonic().
        ready: when it turned to Ray.
    """

    def __init__(
        self,
        config: Config,
        size: WorldSize,
        claim: Claim,
        stop: StopOnSignal,
        *,
        scratch: str,
        began: float,
        ready: float,
    ):
        self.config, self.size, self.claim, self.stop = config, size, claim, stop
        self.scratch, self.began, self.ready = scratch, began, ready
        self.group = group_size(config.batch_size, config.objective.group)
        self.attempts = self.failures = 0
        self.progress: Progress | None = None
        self.furthest = -1
        self.failed_at: float | None = None
        self.last_size = 0  # of an attempt that trained, and its nodes
        self.proved: set[str] = set()
        self.banished: dict[str, float] = {}  # nodes, and until when
        self.joined_at: float | None = None
        self.nodes: list[Node] = []
        self._open_desk()
        self.need = self._need()

    def _open_desk(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()

    def _need(self) -> dict[str, float]:
        """The resources of a worker, of which the cluster's autoscaler, if it has one, is told."""
        self._survey()
        config = self.config
        gpus = None if config.gpus_per_worker < 0 else config.gpus_per_worker
        if config.device == "cpu":
            gpus = 0
        elif gpus is None and cluster.can_grow_gpus():
            gpus = 1
        need = need_of(self.nodes, self.size, config.cpus_per_worker, gpus)
        # One wish for the whole cluster: of several runs the last one's holds.
        count = self.size.low if self.size.high == AS_MANY_AS_FIT else self.size.high
        bundle = {name: int(amount) for name, amount in need.items()}  # Ray before 2.56 takes no 1.0
        request_resources(bundles=[bundle] * count)
        return need

    def _survey(self) -> None:
        now = time.monotonic()
        self.banished = {node: until for node, until in self.banished.items() if until > now}
        found = cluster.nodes()
        self.nodes = [replace(node, usable=node.usable and node.id not in self.banished) for node in found]
        self._surveyed = now

    def drive(self) -> Outcome | None:
        """Attempt after attempt, until the end or until stopped: then the outcome, None without one.

        Raises:
            UserError: a worker found a mistake, or too many attempts failed.
        """
        try:
            while workers := self._await_room():
                attempt = self._start(workers)
                news = self._watch(attempt)
                if news.refused:
                    raise UserError(news.refused)
                self.claim.check()
                if news.outcome:
                    outcome = Outcome(**news.outcome)
                    if outcome.finished or self.stop():
                        return outcome
                    self.failures = 0
                elif self.stop():
                    return None
                else:
                    self._failed(attempt, news)
            return None
        finally:
            if self.progress:
                self.progress.close()
            with suppress(ray.exceptions.RayError):
                request_resources(bundles=[])

    def _say(self, line: str) -> None:
        self.progress.say(line) if self.progress else print(line, flush=True)

    # Before an attempt.

    def _await_room(self) -> int:
        """The number of workers to start, when there is room for enough; 0: stopped meanwhile."""
        said, began = 0.0, time.monotonic()
        while not self.stop():
            self._survey()
            if not self.attempts:
                self.need = self._need()
            count, free = self._choose(room(self.nodes, self.need)), room(self.nodes, self.need, free=True)
            # What ended workers held becomes free a little later; what other runs hold does not.
            if free < count and (time.monotonic() - began > _SETTLE or 0 < self.last_size <= free):
                count = self._choose(free)
            if count and free >= count:
                return count
            if time.monotonic() - said > 30 and time.monotonic() - began > 3:
                said = time.monotonic()
                what = ", ".join(f"{amount:g} {name}" for name, amount in self.need.items())
                self._say(
                    f"waiting for room: {free} of at least {_workers(self.size.low)} of {what} fit now, on "
                    f"{sum(node.usable for node in self.nodes)} nodes"
                )
            time.sleep(0.5)
        return 0

    def _choose(self, fits: int) -> int:
        whole = bool(self.config.optim.micro_batch)
        return choose(self.size, fits, self.config.batch_size, self.group, whole_groups=whole)

    def _start(self, workers: int) -> Attempt:
        self.attempts += 1
        ray.get(self.desk.open.remote(self.attempts), timeout=60)
        gpu = self.need.get("GPU", 0) > 0
        if self.attempts == 1:
            what = ", ".join(f"{amount:g} {name}" for name, amount in self.need.items())
            self._say(f"starting {_workers(workers)}, {what} each")
        task = Task(
            self.config, self.desk, self.attempts, self.claim.token, int(self.need["CPU"]), gpu, self.furthest < 0
        )
        attempt = Attempt(
            task,
            workers,
            self.need,
            self.config.collective_timeout,
            avoid=[node.id for node in self.nodes if not node.usable],
            scratch=self.scratch,
        )
        attempt.start()
        return attempt

    # While it runs.

    def _watch(self, attempt: Attempt) -> News:
        """Print what it says until it ends; ask it to end when there is a reason."""
        asked_at, roomy_since = None, None
        while attempt.is_alive():
            news = self._show(attempt)
            if news.outcome or news.refused:
                attempt.join(_CLEAN_UP)
                break
            now = time.monotonic()
            if self.claim.lost:
                return self._abandon(attempt)
            if asked_at is None and self.stop():
                asked_at = now
            elif asked_at is None and now - self._surveyed > _SURVEY:
                self._survey()
                going = {worker["node"] for worker in news.workers.values()} & cluster.draining()
                if going:
                    names = ", ".join(sorted({w["address"] for w in news.workers.values() if w["node"] in going}))
                    self._say(f"{names} is going to be shut down: writing a checkpoint and going on without it")
                    asked_at = now
                more = self._choose(attempt.workers + room(self.nodes, self.need, free=True))
                roomy_since = (roomy_since or now) if more > attempt.workers else None
                if roomy_since and news.done >= 0 and now - roomy_since > waits.STEADY:
                    self._say(f"room for {_workers(more)}: writing a checkpoint and going on with them")
                    asked_at = now
            if asked_at is not None:
                ray.get(self.desk.ask_to_stop.remote(), timeout=60)
                if news.done < 0 and now - asked_at > _STOP:
                    return self._abandon(attempt)
            if len(news.workers) < attempt.workers and now - attempt.began > self.config.start_timeout:
                late = f"they did not start within {self.config.start_timeout:g} s, --start_timeout"
                return self._abandon(attempt)._replace(trouble=late)
            attempt.join(_LOOK)
        return self._show(attempt)

    def _abandon(self, attempt: Attempt) -> News:
        """End an attempt whatever it does: Ray ends all that a driver has started when it leaves."""
        news = self._show(attempt)
        # A thread that still holds what is Ray's when Ray is shut down ends the process.
        ray_internals.end_controllers()
        attempt.join(_STOP)
        ray.shutdown()
        cluster.connect()
        self.stop.listen()
        self._open_desk()
        return news

    def _show(self, attempt: Attempt) -> News:
        news = News(*ray.get(self.desk.look.remote(), timeout=60))
        for line in news.lines:
            self._say(line)
        if self.joined_at is None and len(news.workers) == attempt.workers:
            self.joined_at = time.monotonic()
        if news.done > self.furthest:
            now = time.monotonic()
            if self.furthest < 0 and self.joined_at:
                theirs = self.joined_at - self.ready
                self._say(f"training {now - self.began:.1f} s after the start, of which Ray took {theirs:.1f} s")
            elif self.failed_at:
                self._say(
                    f"training again with {_workers(attempt.workers)}, {now - self.failed_at:.1f} s after the failure"
                )
            self.failed_at, self.furthest, self.failures = None, news.done, 0
            self.last_size, self.proved = attempt.workers, {worker["node"] for worker in news.workers.values()}
        if news.done >= 0:
            self.progress = self.progress or Progress(self.config.images, done=news.done)
            self.progress.advance(news.done - self.progress.done)
            if news.text != self.progress.text:
                self.progress.describe(news.text)
        return news

    # After it.

    def _failed(self, attempt: Attempt, news: News) -> None:
        self.failures += 1
        self.failed_at = self.failed_at or time.monotonic()
        reason = news.trouble or attempt.reason(news.workers)
        if self.failures > self.config.max_failures:
            raise UserError(
                f"{self.failures} attempts in a row ended without progress (--max_failures "
                f"{self.config.max_failures}), the last: {reason}. The last checkpoint is kept; Ray's logs, in "
                "/tmp/ray/session_latest/logs of each node, say more"
            )
        if self.proved and self.failures > 1:  # nodes that came since may be what is wrong
            nodes = {worker["node"] for worker in news.workers.values()} - self.proved
            self.banished |= dict.fromkeys(nodes, time.monotonic() + _BANISHED)
        self._say(f"the workers failed ({reason}): going on from the last checkpoint")


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"
