"""Where a run executes: in this process, or on Ray Train workers."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from ragdist import rayenv, worldsize
from ragdist.config import Config
from ragdist.errors import UserError


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

    if not find_spec("ray"):
        raise UserError(f"--workers {config.workers} needs Ray: pip install 'ragdist[ray]', or --workers 0")
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
