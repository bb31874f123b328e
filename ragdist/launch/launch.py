"""Where a run executes: in this process, or on Ray Train workers."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ragdist.config import Config, world_size
from ragdist.launch.on_ray import environment


def launch(config: Config, *, overwrite: bool = False) -> int:
    """Run the configured training to its end, or until it is stopped; the exit code.

    Raises:
        UserError: see the parts.
    """
    began = time.monotonic()
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


@contextmanager
def _importing() -> Iterator[None]:
    """Import without garbage collection, and keep what is imported out of it: looking through it takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
