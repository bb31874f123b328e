"""The division of a global batch: pairing groups, in logical workers, on workers.

A global batch has logical workers, equal parts whose number the configuration decides: whatever computes them, a sum
over the batch is the sum of theirs, in one order. A logical worker has whole pairing groups.
"""

from collections.abc import Mapping
from typing import Any

from ragdist.config.run import Config
from ragdist.config.world_size import AS_MANY_AS_FIT, WorldSize
from ragdist.tools.errors import UserError
from ragdist.tools.words import counted

_MOST = 8  # logical workers, where no number is asked for


def group_size(batch: int, group: int) -> int:
    """The pairing group's size: the largest divisor of the global batch that is not above ``group``."""
    return max(size for size in range(1, min(batch, group) + 1) if batch % size == 0)


def logical_workers(config: Config) -> int:
    """The number of logical workers: as asked for, or the largest divisor of the number of pairing groups up to 8.

    Raises:
        UserError: they would not have whole pairing groups, and as many each.
    """
    batch, asked = config.batch_size, config.logical_workers
    group = group_size(batch, config.objective.group)
    groups = batch // group
    if not asked:
        return _divisors(groups, _MOST)[-1]
    if groups % asked:
        fit = ", ".join(map(str, _divisors(groups, groups)))
        raise UserError(
            f"--logical_workers {asked}: each has as many pairing groups, and a batch of {batch} has {groups} of "
            f"{group} slots; choose {fit}, or another --batch_size or --objective.group"
        )
    return asked


def settle(config: Config, saved: Mapping[str, Any]) -> None:
    """Give a configuration that names no number of logical workers, or the default's, what its run says.

    Args:
        config: of a run that goes on; is changed.
        saved: what the run says, by today's names.
    """
    said, has = config.logical_workers, saved["logical_workers"]
    if said and has:
        return
    config.logical_workers = has
    if said and said != logical_workers(config):
        config.logical_workers = said


def _divisors(number: int, most: int) -> list[int]:
    return [divisor for divisor in range(1, most + 1) if number % divisor == 0]


def workers(config: Config, size: WorldSize) -> tuple[WorldSize, str]:
    """The numbers of workers that have something to do, of those asked for, and what to say of those left out.

    Raises:
        UserError: at least so many workers are asked for that some have nothing to do.
    """
    most = logical_workers(config)
    has = f"this run has {counted(most, 'logical worker')}"
    if size.low > most:
        raise UserError(
            f"--workers {config.workers}: {has}, which at most as many workers compute; give "
            f"--workers {most}" + (" or fewer" if most > 1 else "") + ", or for a new run another --logical_workers"
        )
    if size.high <= most:
        return size, ""
    said = f"--workers {config.workers}: at most {most} are started, for {has}"
    return WorldSize(size.low, most), said if size.high != AS_MANY_AS_FIT else ""


def rounds(count: int, size: int, threads: int) -> int:
    """Logical workers that the busiest thread of ``size`` workers computes in turn."""
    of_one = -(-count // size)
    return -(-of_one // threads)


def micro_batch(config: Config, *, cpu: bool) -> int:
    """Slots that are computed at a time: whole pairing groups of a logical worker.

    Where the options name no number it is 64 on a CPU, or the one pairing group that is larger: no more FLOPs in a part
    of the memory (docs/performance.md); elsewhere all of a logical worker's slots.

    Raises:
        UserError: a pairing group is larger.
    """
    asked, group = config.optim.micro_batch, group_size(config.batch_size, config.objective.group)
    slots = config.batch_size // logical_workers(config)
    if not asked:
        return min(slots, max(64 // group, 1) * group) if cpu else slots
    if asked < group:
        raise UserError(
            f"--optim.micro_batch {asked}: a pairing group has {group} slots and is computed whole; "
            f"choose at least {group}, or a smaller --objective.group"
        )
    return min(asked // group * group, slots)
