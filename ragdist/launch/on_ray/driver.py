"""The driver of a run on Ray Train workers: it starts, watches and restarts them.

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
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragdist.config import Config
from ragdist.config.world_size import AS_MANY_AS_FIT, WorldSize
from ragdist.launch.on_ray import cluster, ray_internals, waits
from ragdist.launch.on_ray.attempt import Attempt
from ragdist.launch.on_ray.capacity import Node, choose, need_of, room
from ragdist.launch.on_ray.mailbox import Mailbox, WorkerReport
from ragdist.launch.on_ray.worker import Task
from ragdist.launch.session import absolute_path, already_finished, closing_words, open_data
from ragdist.objective.relative import group_size
from ragdist.runs.lease import Lease
from ragdist.runs.open import run_at
from ragdist.tools.errors import UserError
from ragdist.tools.progress import Progress
from ragdist.tools.stop_signal import StopOnSignal
from ragdist.training.trainer import Outcome

_LOOK = 0.2  # seconds between two looks at the mailbox
_SURVEY = 1.0  # seconds between two looks at the cluster's nodes
_SETTLE = 5.0  # seconds within which the resources of workers that ended become free
_STOP = 20.0  # seconds within which workers that have not begun to train must end when asked to
_CLEAN_UP = 60.0  # seconds that Ray may take to end the workers
_EXCLUDED = 300.0  # seconds for which a node on which an attempt could not start gets no worker


def run(config: Config, size: WorldSize, *, overwrite: bool, began: float) -> int:
    """Train to the end, or until stopped; the exit code. ``began`` is when the command did, by time.monotonic().

    Raises:
        UserError: see the parts; found by the driver or by a worker.
    """
    config = replace(
        config,
        out=absolute_path(config.out, "--out"),
        data=replace(config.data, path=absolute_path(config.data.path, "--data")),
    )
    open_data(config)
    place = run_at(config.out)
    with place.leased(config, overwrite=overwrite) as lease, StopOnSignal() as stop:
        summary = place.summary()
        if summary and summary["images"] >= config.images:
            print(already_finished(config, summary))
            return 0
        try:
            with tempfile.TemporaryDirectory(prefix="ragdist-ray-") as scratch:
                ready = time.monotonic()
                cluster.connect()
                stop.listen()  # Ray's own handler of SIGTERM aborts the process
                driver = Driver(config, size, lease, stop, scratch=scratch, began=began, ready=ready)
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
    """The driver of one run.

    Args:
        config: with absolute paths.
        size: the workers that are asked for.
        lease: the run's.
        stop: asks whether the user wants to end.
        scratch: a folder for Ray.
        began: when the command began, by time.monotonic().
        ready: when it turned to Ray.
    """

    def __init__(
        self,
        config: Config,
        size: WorldSize,
        lease: Lease,
        stop: StopOnSignal,
        *,
        scratch: str,
        began: float,
        ready: float,
    ):
        self.config, self.size, self.lease, self.stop = config, size, lease, stop
        self.scratch, self.began, self.ready = scratch, began, ready
        self.group = group_size(config.batch_size, config.objective.group)
        self.attempts = self.failures = 0
        self.progress: Progress | None = None
        self.furthest = -1
        self.failed_at: float | None = None
        self.last_size = 0  # of an attempt that trained, and its nodes
        self.known_good_nodes: set[str] = set()
        self.excluded_nodes: dict[str, float] = {}  # nodes, and until when
        self.joined_at: float | None = None
        self.nodes: list[Node] = []
        self._open_mailbox()
        self.need = self._need()

    def _open_mailbox(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()

    def _need(self) -> dict[str, float]:
        """The resources of a worker, which are also requested from the cluster's autoscaler."""
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
        self.excluded_nodes = {node: until for node, until in self.excluded_nodes.items() if until > now}
        found = cluster.nodes()
        self.nodes = [replace(node, usable=node.usable and node.id not in self.excluded_nodes) for node in found]
        self._surveyed = now

    def drive(self) -> Outcome | None:
        """Run attempts until the training has ended or is stopped; the outcome, None without one.

        Raises:
            UserError: a worker found a mistake, or too many attempts failed.
        """
        try:
            while workers := self._await_room():
                attempt = self._start(workers)
                report = self._watch(attempt)
                if report.refused:
                    raise UserError(report.refused)
                self.lease.check()
                if report.outcome:
                    outcome = Outcome(**report.outcome)
                    if outcome.finished or self.stop():
                        return outcome
                    self.failures = 0
                elif self.stop():
                    return None
                else:
                    self._failed(attempt, report)
            return None
        finally:
            if self.progress:
                self.progress.close()
            if ray.is_initialized():
                with suppress(ray.exceptions.RayError):
                    request_resources(bundles=[])

    def _say(self, line: str) -> None:
        self.progress.say(line) if self.progress else print(line, flush=True)

    # Before an attempt.

    def _await_room(self) -> int:
        """Wait for room for enough workers; their number, 0 where stopped meanwhile."""
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
        ray.get(self.mailbox.open.remote(self.attempts), timeout=60)
        gpu = self.need.get("GPU", 0) > 0
        if self.attempts == 1:
            what = ", ".join(f"{amount:g} {name}" for name, amount in self.need.items())
            self._say(f"starting {_workers(workers)}, {what} each")
        task = Task(
            self.config, self.mailbox, self.attempts, self.lease.token, int(self.need["CPU"]), gpu, self.furthest < 0
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

    def _watch(self, attempt: Attempt) -> WorkerReport:
        """Print an attempt's progress until it ends, and ask it to end where there is a reason."""
        asked_at, roomy_since = None, None
        while attempt.is_alive():
            report = self._show(attempt)
            if report.outcome or report.refused:
                attempt.join(_CLEAN_UP)
                break
            now = time.monotonic()
            if self.lease.lost:
                return self._abandon(attempt)
            if asked_at is None and self.stop():
                asked_at = now
            elif asked_at is None and now - self._surveyed > _SURVEY:
                self._survey()
                going = {worker["node"] for worker in report.workers.values()} & cluster.draining()
                if going:
                    names = ", ".join(sorted({w["address"] for w in report.workers.values() if w["node"] in going}))
                    self._say(f"{names} is going to be shut down: writing a checkpoint and going on without it")
                    asked_at = now
                more = self._choose(attempt.workers + room(self.nodes, self.need, free=True))
                roomy_since = (roomy_since or now) if more > attempt.workers else None
                if roomy_since and report.done >= 0 and now - roomy_since > waits.STEADY:
                    self._say(f"room for {_workers(more)}: writing a checkpoint and going on with them")
                    asked_at = now
            if asked_at is not None:
                ray.get(self.mailbox.ask_to_stop.remote(), timeout=60)
                if report.done < 0 and now - asked_at > _STOP:
                    return self._abandon(attempt)
            if len(report.workers) < attempt.workers and now - attempt.began > self.config.start_timeout:
                late = f"they did not start within {self.config.start_timeout:g} s, --start_timeout"
                return self._abandon(attempt)._replace(transient_error=late)
            attempt.join(_LOOK)
        return self._show(attempt)

    def _abandon(self, attempt: Attempt) -> WorkerReport:
        """End an attempt whatever its workers do: Ray ends all that a driver has started when it leaves."""
        report = self._show(attempt)
        # A thread that still holds what is Ray's when Ray is shut down ends the process.
        ray_internals.end_controllers()
        attempt.join(_STOP)
        ray.shutdown()
        cluster.connect()
        self.stop.listen()
        self._open_mailbox()
        return report

    def _show(self, attempt: Attempt) -> WorkerReport:
        report = WorkerReport(*ray.get(self.mailbox.look.remote(), timeout=60))
        for line in report.lines:
            self._say(line)
        if self.joined_at is None and len(report.workers) == attempt.workers:
            self.joined_at = time.monotonic()
        if report.done > self.furthest:
            now = time.monotonic()
            if self.furthest < 0 and self.joined_at:
                theirs = self.joined_at - self.ready
                self._say(f"training {now - self.began:.1f} s after the start, of which Ray took {theirs:.1f} s")
            elif self.failed_at:
                self._say(
                    f"training again with {_workers(attempt.workers)}, {now - self.failed_at:.1f} s after the failure"
                )
            self.failed_at, self.furthest, self.failures = None, report.done, 0
            self.last_size, self.known_good_nodes = (
                attempt.workers,
                {worker["node"] for worker in report.workers.values()},
            )
        if report.done >= 0:
            self.progress = self.progress or Progress(self.config.images, done=report.done)
            self.progress.advance(report.done - self.progress.done)
            if report.text != self.progress.text:
                self.progress.describe(report.text)
        return report

    # After it.

    def _failed(self, attempt: Attempt, report: WorkerReport) -> None:
        _free(report)
        self.failures += 1
        self.failed_at = self.failed_at or time.monotonic()
        reason = report.transient_error or attempt.reason(report.workers)
        if self.failures > self.config.max_failures:
            raise UserError(
                f"{self.failures} attempts in a row ended without progress (--max_failures "
                f"{self.config.max_failures}), the last: {reason}. The last checkpoint is kept; Ray's logs, in "
                "/tmp/ray/session_latest/logs of each node, say more"
            )
        if self.known_good_nodes and self.failures > 1:  # nodes that came since may be what is wrong
            nodes = {worker["node"] for worker in report.workers.values()} - self.known_good_nodes
            self.excluded_nodes |= dict.fromkeys(nodes, time.monotonic() + _EXCLUDED)
        self._say(f"the workers failed ({reason}): going on from the last checkpoint")


def _free(report: WorkerReport) -> None:
    """Give the resources of an attempt's workers back, which nobody else may do where Ray Train's controller died.

    The helper that Ray Train has for that asks the dashboard, and for ever where that does not answer.
    """
    for group in {worker["group"].id: worker["group"] for worker in report.workers.values()}.values():
        with suppress(ray.exceptions.RayError):
            remove_placement_group(group)


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"
