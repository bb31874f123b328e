"""How long a run on Ray waits before it believes something; RAGDIST_STEADY_SECONDS and the like change it."""

import os


def _seconds(name: str, usual: float) -> float:
    return float(os.environ.get(f"RAGDIST_{name}_SECONDS", usual))


STEADY = _seconds("STEADY", 10.0)  # for which there must be room for more workers before a run grows
SHARED = _seconds("SHARED", 10.0)  # until what one node wrote must be seen by the others
