"""Environment variables for Ray, which it reads when it is imported."""

import os
import secrets
from importlib.util import find_spec

from ragdist.launch.on_ray import ray_internals
from ragdist.tools.errors import UserError


def require(what: str, otherwise: str = "") -> None:
    """Raise UserError where Ray is not installed: some platforms and versions of Python have none.

    Args:
        what: needs it.
        otherwise: what can be done without.

    Raises:
        UserError: it is not.
    """
    if not find_spec("ray"):
        oldest = ".".join(map(str, ray_internals.OLDEST))
        raise UserError(
            f"{what} needs Ray, which is not installed here: pip install 'ray[default,train,tune]>={oldest}'{otherwise}"
        )


def prepare(worker_timeout: float) -> None:
    """Set the variables that the user has not set. Call it before Ray is imported.

    Args:
        worker_timeout: seconds after which a worker that does not answer counts as dead.
    """
    os.environ.setdefault(ray_internals.SILENCE, f"{worker_timeout:g}")
    for name, variable in ray_internals.SETTINGS.items():
        os.environ.setdefault(name, variable.value)
    if not os.environ.get("RAY_ADDRESS"):
        # The cluster of this machine and this run: nobody else knows the token, so nobody else can use it.
        os.environ |= {ray_internals.AUTH_MODE: "token", ray_internals.AUTH_TOKEN: secrets.token_hex(32)}
