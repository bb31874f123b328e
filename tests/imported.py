"""What the server that ranks are forked from imports: all that they would, each for seconds."""

import gc

import ragdist.trainer  # noqa: F401

gc.freeze()
