"""Threads of tests that share the cores sleep while they wait for each other, in this process and all it starts.

OpenMP's spin, which is quicker where nothing else runs; here others do, and a run of a second took ten. Set before
PyTorch is imported, and changes no result, which depends on the number of threads alone.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
