"""Agreement of the workers: their weights, which data-parallel training must keep equal, and what ends them all."""

import socket
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ragdist.distributed.world import World
from ragdist.storage.files import os_errors_as_user_error
from ragdist.tools.errors import Unreachable, UserError


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


def write(world: World, work: Callable[[], Any], what: str) -> None:
    """Run ``work``, which writes, on rank 0; all ranks must call.

    Args:
        world: the ranks.
        work: called on rank 0 alone.
        what: begins the message of what keeps it from that, as "cannot write a checkpoint".

    Raises:
        UserError: on all ranks, whatever ``work`` raised; an error of ours as it is where there is one rank.
    """
    problem = None
    if world.rank == 0:
        try:
            with os_errors_as_user_error(f"{what} (the last one is kept)"):
                work()
        except UserError as error:
            problem = error
        except Exception as error:
            if world.size == 1:
                raise
            traceback.print_exc()
            problem = UserError(f"{what}: {type(error).__name__}: {error}")
    raise_on_all(world, problem)


def raise_on_all(world: World, problem: UserError | None) -> None:
    """Raise one rank's error on all ranks, which must call."""
    said = world.gather([str(problem), isinstance(problem, Unreachable)] if problem else None)
    for text, passing in filter(None, said):
        raise (Unreachable if passing else UserError)(text)
