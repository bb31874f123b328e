"""Where a run executes: in this process, or on Ray Train workers."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ragdist import rayenv, worldsize
from ragdist.config import Config


def launch(config: Config, *, overwrite: bool = False) -> int:
    """Run the configured training to its end, or until it is stopped; the exit code.

    Raises:
        UserError: see the parts.
    """
    began = time.monotonic()
    size = worldsize.parse(config.workers)
    if size.in_process:
        with _importing():
            from ragdist import local
        return local.run(config, overwrite=overwrite)

    rayenv.require(f"--workers {config.workers}", ", or give --workers 0 to train in this process")
    rayenv.prepare(config.collective_timeout)
    with _importing():
        from ragdist.on_ray import driver
    return driver.run(config, size, overwrite=overwrite, began=began)


@contextmanager
def _importing() -> Iterator[None]:
    """Without a search for garbage in what is imported, now and later: it stays, and looking through it takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
