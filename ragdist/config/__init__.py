"""Options: of a run, of shards, of evaluations, of the doctor; the parser, presets, and what old files become.

Every option is a field of a dataclass here, with its default and its line of --help. Importing this package needs no
PyTorch and no Ray.
"""

from ragdist.config.run import Config

__all__ = ["Config"]
