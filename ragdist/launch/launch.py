"""Where a run executes: in this process, or on Ray Train workers."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ragdist.config import Config, cli, world_size
from ragdist.launch.on_ray import environment
from ragdist.launch.on_ray.ray_internals import WORKING_DIRECTORIES
from ragdist.tools.errors import UserError


def launch(config: Config, *, overwrite: bool = False) -> int:
    """Run the configured training to its end, or until it is stopped; the exit code.

    Raises:
        UserError: a mistake that the user can mend: damaged data, a folder in use, no such device.
    """
    began = time.monotonic()
    config = with_paths_of_plugins(config)
    if in_ray_job():
        with _importing():
            from ragdist.launch.on_ray import job
        config = job.with_lasting_data(config)
        config = replace(config, out=job.lasting_path(config.out, "--out", config.collective_timeout))
    if config.init_from:
        with _importing():
            from ragdist.launch import source
        config = source.of_run(config, overwrite=overwrite)
    size = world_size.parse(config.workers)
    if size.in_process:
        with _importing():
            from ragdist.launch import local
        return local.run(config, overwrite=overwrite)

    environment.require(f"--workers {config.workers}", ", or give --workers 0 to train in this process")
    environment.prepare(config.collective_timeout)
    with _importing():
        from ragdist.launch.on_ray import driver
    return driver.run(config, size, overwrite=overwrite, began=began)


def with_paths_of_plugins(config: Config) -> Config:
    """A configuration that names its plugins by absolute paths: a run that is continued elsewhere finds them again.

    In a Ray job, whose working directory is Ray's and temporary, they stay relative: the next job brings them again.
    """
    files = cli.plugin_files(config.plugin)
    if not in_ray_job():
        files = [str(Path(file).expanduser().absolute()) for file in files]
    if odd := next((file for file in files if "," in file), None):
        raise UserError(f"--plugin {odd}: a comma separates plugins: move it to a folder without one in its name")
    return replace(config, plugin=",".join(files))


def in_ray_job() -> bool:
    """Whether the working directory is a Ray job's: a copy of the user's, which Ray deletes after the job."""
    return WORKING_DIRECTORIES in os.getcwd()


@contextmanager
def _importing() -> Iterator[None]:
    """Import without garbage collection, and keep what is imported out of it: looking through it takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
