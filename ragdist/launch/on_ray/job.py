"""Folders of a Ray job: its working directory is a copy of the user's that Ray deletes after the job."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ragdist.config import Config
from ragdist.launch.on_ray import environment
from ragdist.launch.on_ray.ray_internals import WORKING_DIRECTORIES
from ragdist.launch.session import absolute_path
from ragdist.storage.store import Store, scheme


def lasting_path(
    where: str, option: str, timeout: float, say: Callable[[str], None] = lambda line: print(line, flush=True)
) -> str:
    """A folder to write to: where it is given, but in a Ray job on one node a relative path becomes one in the home.

    Args:
        where: a path or URL.
        option: it was given as, for messages.
        timeout: as of `environment.prepare`.
        say: prints a line, about what became another path.

    Raises:
        UserError: a relative path in a job on several nodes.
    """
    relative = where and scheme(where) is None and not Store(where).local.is_absolute()
    if not relative or WORKING_DIRECTORIES not in os.getcwd():
        return where
    if not _is_one_node(timeout):
        return absolute_path(where, option)
    path = str(Path.home() / where)
    say(f"{option} {where}: in the home folder, {path}, for a Ray job's working directory is deleted")
    return path


def with_lasting_data(config: Config) -> Config:
    """A configuration whose shards outlive a Ray job, where they are made from a source."""
    if not config.data.source:
        return config
    path = lasting_path(config.data.path, "--data", config.collective_timeout)
    return replace(config, data=replace(config.data, path=path))


def _is_one_node(timeout: float) -> bool:
    if not os.environ.get("RAY_ADDRESS"):  # a job has it, and what is started without is on this machine alone
        return True
    environment.prepare(timeout)
    import ray

    from ragdist.launch.on_ray import cluster

    cluster.connect()
    try:
        return sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
