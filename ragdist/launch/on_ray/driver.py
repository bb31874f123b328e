"""The driver of a run on Ray Train workers: it starts, watches and restarts them.

An attempt is a group of workers of one size. It ends when the run is finished, when it is asked to (Ctrl-C,
a node that is going to be preempted, room for more workers), which leaves a checkpoint, or when something
dies. The next attempt goes on from the newest checkpoint with as many workers as there is room for.
"""

import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import ray
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragdist import modalities
from ragdist.config import Config, cli, division, identity
from ragdist.config.world_size import WorldSize
from ragdist.launch.on_ray import cluster, ray_internals, waits
from ragdist.launch.on_ray.attempt import Attempt
from ragdist.launch.on_ray.console import Console
from ragdist.launch.on_ray.mailbox import Mailbox, WorkerReport
from ragdist.launch.on_ray.survey import Survey
from ragdist.launch.on_ray.worker import Task
from ragdist.launch.session import absolute_path, already_finished, closing_words, open_data
from ragdist.runs.lease import Lease
from ragdist.runs.open import run_at
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from ragdist.tools.stop_signal import StopOnSignal
from ragdist.tools.words import counted
from ragdist.training.trainer import Outcome

_LOOK = 0.2  # seconds between two looks at the mailbox
_SETTLE = 5.0  # seconds within which the resources of workers that ended become free
_STOP = 20.0  # seconds within which workers that have not begun to train must end when asked to
_CLEAN_UP = 60.0  # seconds that Ray may take to end the workers


def run(config: Config, size: WorldSize, *, overwrite: bool, began: float) -> int:
    """Train to the end, or until stopped; the exit code. ``began`` is when the command did, by time.monotonic().

    Raises:
        UserError: a mistake that the user can mend, found by the driver or by a worker.
    """
    config = replace(
        config,
        out=absolute_path(config.out, "--out"),
        data=replace(config.data, path=absolute_path(config.data.path, "--data")),
    )
    index = open_data(config)
    code = identity.code_of(config, index.packages)
    place = run_at(config.out)
    with place.leased(config, overwrite=overwrite) as lease, StopOnSignal() as stop:
        summary = place.summary()
        if summary and summary["samples"] >= config.samples:
            print(already_finished(config, index, summary))
            return 0
        size, cut = division.workers(config, size)
        if cut:
            print(cut, flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix="ragdist-ray-") as scratch:
                ready = time.monotonic()
                cluster.connect()
                stop.listen()  # Ray's own handler of SIGTERM aborts the process
                console = Console(config.samples, began=began, ready=ready, units=modalities.making(index.codec).units)
                driver = Driver(config, size, lease, stop, console, code=code, scratch=scratch)
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
        print(closing_words(config, index, outcome))
    else:
        print(f"stopped; the last checkpoint is in {config.out}/checkpoints, and the same command continues")
    return 0 if outcome and outcome.finished else 130


class Driver:
    """The driver of one run.

    Args:
        config: the run's configuration, with absolute paths.
        size: the number of workers that are asked for.
        lease: the lease on the run.
        stop: whether the user wants the run to end, asked often.
        console: the terminal of the run.
        code: packages of others that the run depends on.
        scratch: a folder for Ray.
    """

    def __init__(
        self,
        config: Config,
        size: WorldSize,
        lease: Lease,
        stop: StopOnSignal,
        console: Console,
        *,
        code: identity.Code,
        scratch: str,
    ):
        self.config, self.size, self.lease, self.stop = config, size, lease, stop
        self.console, self.code, self.scratch = console, code, scratch
        self.attempts = self.failures = 0
        self.last_size = 0  # of an attempt that trained, and its nodes
        self.known_good_nodes: set[str] = set()
        self.held: Counter[str] | None = None  # workers of the last attempt on each node, where all of them joined
        self._open_mailbox()
        self.survey = Survey(config, size)

    def _open_mailbox(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()

    def drive(self) -> Outcome | None:
        """Run attempts until the training has ended or is stopped; the outcome, None without one.

        Raises:
            UserError: a worker found a mistake, or too many attempts failed.
        """
        try:
            while workers := self._await_room():
                attempt = self._start(workers)
                report = self._watch(attempt)
                joined = Counter(worker["node"] for worker in report.workers.values())
                self.held = joined if joined.total() == attempt.workers else None
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
            self.console.close()
            self.survey.demand.release()

    # Before an attempt.

    def _await_room(self) -> int:
        """Wait for room for enough workers; their number, 0 where stopped meanwhile."""
        survey, said, began = self.survey, 0.0, time.monotonic()
        while not self.stop():
            survey.look()
            if not self.attempts:
                survey.request_workers()
            workers, free = survey.choose(survey.fits()), survey.fits(free=True)
            # What ended workers held becomes free a little later, node by node; what other runs hold does not.
            settled = self.held is not None and 0 < self.last_size <= free and survey.returned(self.held)
            if free < workers and (settled or time.monotonic() - began > _SETTLE):
                workers = survey.choose(free)
            if workers and free >= workers:
                return workers
            if time.monotonic() - said > 30 and time.monotonic() - began > 3:
                said = time.monotonic()
                wanted = f"{counted(self.size.low, 'worker')} of {survey.need_text()}"
                nodes = sum(node.usable for node in survey.nodes)
                self.console.say(f"waiting for room: {free} of at least {wanted} fit now, on {nodes} nodes")
            time.sleep(0.5)
        return 0

    def _start(self, workers: int) -> Attempt:
        self.attempts += 1
        ray.get(self.mailbox.open.remote(self.attempts), timeout=60)
        need = self.survey.need
        if self.attempts == 1:
            self.console.say(f"starting {counted(workers, 'worker')}, {self.survey.need_text()} each")
        task = Task(
            self.config,
            self.mailbox,
            self.attempts,
            self.lease.token,
            threads=int(need["CPU"]),
            gpu=need.get("GPU", 0) > 0,
            say_introduction=self.console.furthest < 0,
            plugins=plugins.named(cli.plugin_files(self.config.plugin)),
            code=self.code,
        )
        timeout, avoid = self.config.collective_timeout, self.survey.unusable()
        attempt = Attempt(task, workers, need, timeout, avoid=avoid, scratch=self.scratch)
        attempt.start()
        return attempt

    # While it runs.

    def _watch(self, attempt: Attempt) -> WorkerReport:
        """Print an attempt's progress until it ends, and ask it to end where there is a reason."""
        asked_at, self._roomy_since = None, None
        while attempt.is_alive():
            report = self._show(attempt)
            if report.outcome or report.refused:
                attempt.join(_CLEAN_UP)
                break
            now = time.monotonic()
            if self.lease.lost:
                return self._abandon(attempt)
            if asked_at is None and self._is_to_end(attempt, report, now):
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

    def _is_to_end(self, attempt: Attempt, report: WorkerReport, now: float) -> bool:
        """Whether there is a reason to end an attempt: the user's, or that its nodes go, or that more have come."""
        if self.stop():
            return True
        if not self.survey.is_due(now):
            return False
        self.survey.look()
        return any([self._loses_nodes(report), self._can_grow(attempt, report, now)])

    def _loses_nodes(self, report: WorkerReport) -> bool:
        going = {worker["node"] for worker in report.workers.values()} & cluster.draining()
        if going:
            names = ", ".join(sorted({w["address"] for w in report.workers.values() if w["node"] in going}))
            self.console.say(f"{names} is going to be shut down: writing a checkpoint and going on without it")
        return bool(going)

    def _can_grow(self, attempt: Attempt, report: WorkerReport, now: float) -> bool:
        """Whether there has been room for more workers for long enough."""
        more = self.survey.choose(attempt.workers + self.survey.fits(free=True))
        self._roomy_since = (self._roomy_since or now) if more > attempt.workers else None
        if not self._roomy_since or report.done < 0 or now - self._roomy_since <= waits.STEADY:
            return False
        self.console.say(f"room for {counted(more, 'worker')}: writing a checkpoint and going on with them")
        return True

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
        if self.console.show(report, attempt.workers):
            self.failures, self.last_size = 0, attempt.workers
            self.known_good_nodes = {worker["node"] for worker in report.workers.values()}
        return report

    # After it.

    def _failed(self, attempt: Attempt, report: WorkerReport) -> None:
        _free(report)
        self.failures += 1
        self.console.failed()
        reason = report.transient_error or attempt.reason(report.workers)
        if self.failures > self.config.max_failures:
            raise UserError(
                f"{self.failures} attempts in a row ended without progress (--max_failures "
                f"{self.config.max_failures}), the last: {reason}. The last checkpoint is kept; Ray's logs, in "
                "/tmp/ray/session_latest/logs of each node, say more"
            )
        if self.known_good_nodes and self.failures > 1:  # nodes that came since may be what is wrong
            nodes = {worker["node"] for worker in report.workers.values()} - self.known_good_nodes
            self.survey.exclude(nodes)
        self.console.say(f"the workers failed ({reason}): going on from the last checkpoint")


def _free(report: WorkerReport) -> None:
    """Release the resources of an attempt's workers, which stay reserved where Ray Train's controller died.

    The helper that Ray Train has for that asks the dashboard, and for ever where that does not answer.
    """
    for group in {worker["group"].id: worker["group"] for worker in report.workers.values()}.values():
        with suppress(ray.exceptions.RayError):
            remove_placement_group(group)
