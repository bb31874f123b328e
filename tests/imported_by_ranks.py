"""What the server that ranks are forked from imports.

More than commands do without workers, and with it a library that has something to say at a process's end.
"""

import gc

import hypothesis  # noqa: F401 - by the tests' modules, which have the functions of ranks
import pytest  # noqa: F401
import torch._dynamo
import torch._inductor.config  # noqa: F401 - by use_deterministic_algorithms

import ragdist.training.trainer  # noqa: F401

gc.freeze()
