"""Waiting times of a run on Ray, in seconds, which variables such as RAGDIST_STEADY_SECONDS change."""

import os

from ragdist.tools.errors import UserError


def _seconds(name: str, usual: float) -> float:
    variable = f"RAGDIST_{name}_SECONDS"
    try:
        return float(os.environ.get(variable, usual))
    except ValueError as error:
        raise UserError(f"{variable} is {os.environ[variable]}: it must be a number of seconds") from error


STEADY = _seconds("STEADY", 10.0)  # for which there must be room for more workers before a run grows
SHARED = _seconds("SHARED", 10.0)  # until what one node wrote must be seen by the others
UNHEARD = _seconds("UNHEARD", 120.0)  # after which what a driver wanted of the autoscaler is not wanted any more
