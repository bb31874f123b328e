"""A command that takes over a run behind a URL after two seconds of silence: ``python -m tests.impatient MODULE ...``.

By itself it waits 25 for a sign of life of whoever holds the lease; it gives its own as much oftener.
"""

import runpy
import sys

from ragdist.runs import remote_lease

if __name__ == "__main__":
    remote_lease.BEAT = 0.8
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
