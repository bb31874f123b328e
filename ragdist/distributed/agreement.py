"""Agreement of the workers' weights, which data-parallel training must keep equal."""

import socket
from collections import Counter
from collections.abc import Hashable, Sequence

from ragdist.distributed.world import World
from ragdist.tools.errors import UserError


def check(world: World, weights_sha256: str, seen: str) -> None:
    """Compare the workers' weights; all ranks must call.

    Args:
        world: the workers.
        weights_sha256: of this worker's.
        seen: what was seen so far, for the message: "640 images".

    Raises:
        UserError: on all ranks, naming those that differ: the same gradients leave the same bits, so that a memory,
            a processor or a link has changed some.
    """
    said = world.gather([weights_sha256, socket.gethostname()])
    odd = outliers([sha for sha, _ in said])
    if odd:
        who = ", ".join(f"{rank} ({said[rank][1]})" for rank in odd)
        one = len(odd) == 1
        what = f"of rank {who} differ from the others'" if one else f"of the ranks {who} differ"
        where = "its memory, processor or network" if one else "the memory, processor or network of one of them"
        raise UserError(
            f"the weights {what} after {seen}: {where} may be faulty. The last checkpoint is kept; the same "
            f"command continues from it, better {'without that machine' if one else 'on other machines'}"
        )


def outliers(values: Sequence[Hashable]) -> list[int]:
    """Indices of the values that differ from the majority's; all of them where there is no majority."""
    (usual, count), *others = Counter(values).most_common()
    if not others:
        return []
    if 2 * count <= len(values):
        return list(range(len(values)))
    return [place for place, value in enumerate(values) if value != usual]
