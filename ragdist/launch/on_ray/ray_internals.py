"""Ray beyond its public API: every object, variable and message that is used, with its purpose; a new Ray may break it.

Ray is imported when one of these is used, not before: it reads most of its environment only then.
"""

from functools import reduce
from importlib import import_module
from typing import Any, NamedTuple

OLDEST = (2, 55)  # the first whose nodes have folders of their own, without which there is no lab to test on
NEWEST = (2, 60)  # of those that the tests passed on


class Variable(NamedTuple):
    """An environment variable that Ray reads, and what it is set to where the user has not set it."""

    value: str
    purpose: str
    since: tuple[int, int] = OLDEST  # the Ray that reads it


class Internal(NamedTuple):
    """An object inside Ray."""

    path: str  # module:attributes
    purpose: str

    def get(self) -> Any:
        """The object. Raises ImportError or AttributeError where this Ray has none."""
        module, _, attributes = self.path.partition(":")
        return reduce(getattr, attributes.split("."), import_module(module))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.get()(*arguments, **named)


# The environment.

SETTINGS = {  # Ray Train hands its own on to its controller and workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": Variable("0.5", "how soon a dead worker is noticed"),
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": Variable("30", "then the cluster is looked at again"),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": Variable("0", "the driver watches, and has a checkpoint written", (2, 57)),
    "RAY_TRAIN_METRICS_ENABLED": Variable("0", "figures go to the run's own folder"),
    "RAY_CHDIR_TO_TRIAL_DIR": Variable("0", "workers stay in the directory of the command"),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": Variable("0", "a process without GPUs keeps CUDA_VISIBLE_DEVICES as it is"),
    "RAY_USAGE_STATS_ENABLED": Variable("0", "a cluster of a run's own tells nobody that it is there"),
}
TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": Variable("1", "a search keeps its own record"),
    "TUNE_DISABLE_SIGINT_HANDLER": Variable("1", "at Ctrl-C trials write checkpoints"),
    "TUNE_PRINT_ALL_TRIAL_ERRORS": Variable("0", "what failed is a line in the table"),
    "TUNE_GLOBAL_CHECKPOINT_S": Variable("1000000", "nothing is restored from Tune's own notes"),
    "RAY_AIR_NEW_OUTPUT": Variable("0", "the table is all that is printed"),
}
SILENCE = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"  # seconds after which a worker that does not answer is dead
AUTH_MODE, AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"  # who may use a cluster
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # carries a runtime environment to a driver that another one starts

# Words by which things of Ray's are recognized.

TOO_SLOW = "timed out during startup"  # says Ray of a private cluster after 30 s, however busy the machine is
WORKING_DIRECTORIES = "/runtime_resources/working_dir_files/"  # in the path of a job's copy of its --working-dir
HEAD = "node:__internal_head__"  # a resource that the head alone has: for what is to be there
NODE_ID = "ray.io/node-id"  # the label that Ray gives every node

# Objects.

free_resources = Internal(
    "ray._private.state:state.available_resources_per_node", "what is free on each node, by the node's id"
)
largest_cluster = Internal(
    "ray._private.state:state.get_max_resources_from_cluster_config", "whether the autoscaler can add GPUs"
)
draining_nodes = Internal("ray._private.state:state.get_draining_nodes", "which nodes were told to go")
actors = Internal("ray._private.state:actors", "which actors the driver has, to end Ray Train's controller")
this_worker = Internal("ray._private.worker:global_worker", "the driver's job, and its hand to end an actor")
controller = Internal(
    "ray.train.v2._internal.execution.controller:TrainController", "the class of the actor that waits for workers"
)
print_from_workers = Internal(
    "ray._private.worker:print_to_stdstream", "prints that workers died, at no log level; the driver has a line for it"
)
callbacks = Internal(
    "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer._create_default_callbacks",
    "what is begun with each group of workers: the actor for Ray Data, which is left out",
)
goodbye = Internal(
    "ray.train.torch.config:_TorchBackend.on_shutdown", "waits for every worker to leave the group: a frozen one never"
)


def too_old(release: str) -> bool:
    """Whether a version of Ray lacks what is needed."""
    return _numbers(release) < OLDEST


def untested(release: str) -> bool:
    """Whether a version of Ray is newer than any that the tests passed on."""
    return _numbers(release) > NEWEST


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:2])


def silence() -> None:
    """Have no thread of Ray's print what workers and nodes do."""
    module, _, name = print_from_workers.path.partition(":")
    setattr(import_module(module), name, lambda *_, **__: None)


def end_controllers() -> None:
    """Kill the driver's Ray Train controllers, so that what waits for them in a thread returns."""
    worker, name = this_worker.get(), controller.path.partition(":")[2]
    for identity, actor in actors(job_id=worker.current_job_id).items():
        if actor["ActorClassName"] == name and actor["State"] != "DEAD":
            worker.core_worker.kill_actor(import_module("ray").ActorID.from_hex(identity), True)


def without_data(trainer: type) -> type:
    """A Ray Train trainer without the actor that deals out Ray Data's sets, which delays every start."""

    class Trainer(trainer):
        def _create_default_callbacks(self):
            found = super()._create_default_callbacks()
            return [each for each in found if type(each).__name__ != "DatasetsCallback"]

    return Trainer


def without_goodbye(config: type) -> type:
    """A Ray Train `TorchConfig` whose workers do not leave the process group at the end: the processes end next."""

    class Backend(config().backend_cls):
        def on_shutdown(self, worker_group, backend_config) -> None: ...

    class Config(config):
        @property
        def backend_cls(self):
            return Backend

    return Config


def failure_of(error: BaseException) -> BaseException:
    """The failure that a failed health check of Ray Train's is about; any other error as it is."""
    return getattr(error, "health_check_failure", error)


def node_died(text: str) -> bool:
    """Whether an error of Ray's says, in its text alone, that a node died."""
    return "node has died" in text or "node died" in text
