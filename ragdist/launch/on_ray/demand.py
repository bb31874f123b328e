"""The demand on a cluster's autoscaler: what runs want it to have room for, for as long as their drivers live.

What is requested of an autoscaler holds until something else is. A driver that is killed could not take it back, and
its nodes would stay up, and be paid for. So an actor that outlives drivers requests for them, and forgets whoever has
not been heard of for a while; of several runs in one cluster it requests what all of them want together.
"""

import os
import threading
import time
import uuid
from contextlib import suppress

import ray
from ray.autoscaler.sdk import request_resources

from ragdist.launch.on_ray import ray_internals, waits

NAME, NAMESPACE = "demand-1", "ragdist"
_RENEWALS = 10  # by a driver, and looks for them by the actor, in the time for which a driver need not be heard of

Bundles = list[dict[str, int]]  # resources of each worker


class Requester:
    """The actor: one in a cluster, which ends when nobody wants anything.

    Args:
        seconds: after which a driver that is not heard of counts as dead.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.wanted: dict[str, Bundles] = {}  # by run
        self.heard: dict[str, float] = {}  # when, by time.monotonic()
        self.requested: Bundles | None = None  # None: what an earlier process has requested, if there was one
        self.lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def want(self, run: str, bundles: Bundles) -> None:
        """Request room for a run's workers beside those of other runs; empty: no more."""
        with self.lock:
            self.wanted[run], self.heard[run] = bundles, time.monotonic()
            self._request()

    def _request(self) -> None:
        bundles = [bundle for wanted in self.wanted.values() for bundle in wanted]
        if bundles != self.requested:
            request_resources(bundles=bundles)
            self.requested = bundles

    def _watch(self) -> None:
        while True:
            time.sleep(self.seconds / _RENEWALS)
            with self.lock:
                for run, heard in list(self.heard.items()):
                    if not self.wanted[run] or time.monotonic() - heard > self.seconds:
                        del self.wanted[run], self.heard[run]
                self._request()
                if not self.wanted:
                    ray.kill(ray.get_runtime_context().current_actor)
                    return


class Demand:
    """A driver's side of it. A cluster of this machine alone, which no autoscaler serves, is asked for nothing."""

    def __init__(self):
        self.run, self.bundles, self.renewed = uuid.uuid4().hex, [], 0.0
        self.shared = bool(os.environ.get("RAY_ADDRESS"))

    def want(self, bundles: Bundles) -> None:
        """Request room for workers with these resources."""
        if bundles != self.bundles:
            self.bundles, self.renewed = bundles, 0.0
        self.renew()

    def renew(self) -> None:
        """Let it be known, when it is time, that this driver lives."""
        if self.shared and self.bundles and time.monotonic() - self.renewed > waits.UNHEARD / _RENEWALS:
            self.renewed = time.monotonic()
            self._send(self.bundles)

    def release(self) -> None:
        """Request nothing any more. Does nothing where the cluster does not answer."""
        if self.shared and self.bundles and ray.is_initialized():
            self.bundles = []
            with suppress(ray.exceptions.RayError):
                ray.get(self._send([]), timeout=10)

    def _send(self, bundles: Bundles) -> ray.ObjectRef:
        """Send to the actor, which is made where there is none or it has just ended."""
        options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        head = {ray_internals.HEAD: 0.001}
        actor = ray.remote(Requester).options(num_cpus=0, resources=head, max_restarts=-1, **options)
        return actor.remote(waits.UNHEARD).want.remote(self.run, bundles)
