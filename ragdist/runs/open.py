"""The run that --out names: a local folder, or a URL."""

from ragdist.runs.local import LocalRun
from ragdist.storage.store import scheme


def run_at(out: str) -> "LocalRun":
    """The run that --out names."""
    if scheme(out) is None:
        return LocalRun(out)
    from ragdist.runs.remote import RemoteRun

    return RemoteRun(out)
