"""Where this process stands among the workers of a run: a value that is passed, no globals."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class World:
    """Rank and size as in torch.distributed, and the device this worker computes on."""

    rank: int
    size: int
    device: torch.device

    def slots(self, batch: int) -> range:
        """The slots of a global batch that this worker computes: contiguous, in all workers all of them.

        Where the batch does not divide, the first workers have one slot more.
        """
        share, rest = divmod(batch, self.size)
        start = self.rank * share + min(self.rank, rest)
        return range(start, start + share + (self.rank < rest))
