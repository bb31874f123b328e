"""The exchange of gradients between workers: sums in an order that does not depend on the number of workers.

Each worker has the sums of its subtrees of `distributed.summation`. Of all of them it is sent a segment, adds that up
along the rest of the tree, and gathers the others' segments: for a number of workers that is a power of two as many
bytes as a ring's all-reduce.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from ragdist.distributed import summation
from ragdist.distributed.world import World, shares


class Exchange:
    """The exchange of a batch's gradients between all workers, who must call it alike.

    Args:
        world: the workers, several.
        count: logical workers of the global batch.
    """

    def __init__(self, world: World, count: int):
        self.size, self.whole = world.size, range(count)
        self.held = [summation.subtrees(count, part) for part in shares(count, world.size)]
        self.mine = self.held[world.rank]

    def rows(self, length: int, like: Tensor) -> Tensor:
        """Room for the sums of `mine`, each of so many values: [subtrees, at least ``length``]."""
        segment = -(-length // self.size)
        return like.new_zeros(len(self.mine), self.size * segment)

    def __call__(self, rows: Tensor) -> Tensor:
        """The sum over all logical workers, [n], from those of `mine` in `rows` [subtrees, n]."""
        segment = rows.shape[1] // self.size
        sent = rows.view(len(rows), self.size, segment).transpose(0, 1).contiguous()
        counts = [len(subtrees) * segment for subtrees in self.held]
        received = rows.new_empty(sum(counts))
        dist.all_to_all_single(received, sent.view(-1), counts, [len(rows) * segment] * self.size)
        terms = [subtree for subtrees in self.held for subtree in subtrees]
        sums = dict(zip(terms, received.view(-1, segment), strict=True))
        found = rows.new_empty(rows.shape[1])
        dist.all_gather_into_tensor(found, summation.total(self.whole, sums, torch.add))
        return found
