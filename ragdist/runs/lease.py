"""The lease on a run: the right of one process to write to it, and to continue it with the same configuration."""

import uuid
from collections.abc import Callable
from typing import Any

from ragdist.config import Config, settings
from ragdist.tools.errors import UserError


class Lease:
    """The right to write to a run, with a fencing token; ``token``: of one that another process took for this one."""

    def __init__(self, seen: Callable[[], str | None] = lambda: None, token: str = ""):
        self.token = token or uuid.uuid4().hex  # in the run's file "lock"
        self.seen = seen  # looks up whose token is there now; None: it cannot be seen
        self.lost = False  # whether someone else took it: at a URL, or in a folder of a file system without locks

    def check(self) -> None:
        """Check that the lease is held. Raises UserError if it is lost."""
        self.lost = self.lost or self.seen() not in (None, self.token)
        if self.lost:
            raise UserError("another process took this run over and goes on with it: this one stopped")


def compare(out: str, config: Config, saved: dict[str, Any]) -> None:
    """Refuse to continue a run of another configuration."""
    if changed := settings.differences(config, saved):
        raise UserError(
            f"{out} holds a run of another configuration ({'; '.join(changed)}): "
            "give the same options to continue it, another --out, or --overwrite to start anew"
        )
